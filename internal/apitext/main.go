// Command apitext prints the exported API of the module in the current directory: one declaration
// in a line, sorted. scripts/api compares the lines with api.txt, so that a review shows what
// changes for users.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
)

func main() {
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "apitext:", err)
		os.Exit(1)
	}
}

func run(w io.Writer) error {
	packages, err := list()
	if err != nil {
		return err
	}
	open := func(path string) (io.ReadCloser, error) { return os.Open(packages[path].Export) }
	imports := importer.ForCompiler(token.NewFileSet(), "gc", open)
	for _, path := range slices.Sorted(maps.Keys(packages)) {
		if !packages[path].public() {
			continue
		}
		p, err := imports.Import(path)
		if err != nil {
			return fmt.Errorf("reading %s: %w", path, err)
		}
		for _, line := range lines(p) {
			if _, err := fmt.Fprintf(w, "%s: %s\n", p.Name(), line); err != nil {
				return err
			}
		}
	}
	return nil
}

// listed is a package as go list describes it.
type listed struct {
	ImportPath string
	Name       string
	DepOnly    bool   // it belongs to another module
	Export     string // the file with the export data of the compiler
}

// public reports whether a user of the module can import the package.
func (p listed) public() bool {
	internal := slices.Contains(strings.Split(p.ImportPath, "/"), "internal")
	return !p.DepOnly && p.Name != "main" && !internal
}

// list returns the packages of the module and all packages that they import, by import path.
func list() (map[string]listed, error) {
	fields := "-json=ImportPath,Name,DepOnly,Export"
	command := exec.Command("go", "list", "-export", "-deps", fields, "./...")
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	packages := map[string]listed{}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		packages[p.ImportPath] = p
	}
}

// lines returns the exported declarations of a package, sorted. They include the names of
// parameters, because users read them in the documentation.
func lines(p *types.Package) []string {
	w := writer{own: p}
	for _, name := range p.Scope().Names() {
		if object := p.Scope().Lookup(name); object.Exported() {
			w.declaration(object)
		}
	}
	slices.Sort(w.lines)
	return slices.Compact(w.lines)
}

// writer collects the lines of one package.
type writer struct {
	own   *types.Package
	lines []string
}

func (w *writer) add(format string, args ...any) {
	w.lines = append(w.lines, fmt.Sprintf(format, args...))
}

func (w *writer) declaration(object types.Object) {
	switch object := object.(type) {
	case *types.Const:
		w.add("const %s %s = %s", object.Name(), w.text(object.Type()), object.Val().ExactString())
	case *types.TypeName:
		w.typeName(object)
	default:
		w.add("%s", types.ObjectString(object, w.short))
	}
}

// typeName writes a type: its kind, its fields and its methods.
func (w *writer) typeName(object *types.TypeName) {
	named, ok := object.Type().(*types.Named)
	if !ok {
		w.add("type %s = %s", object.Name(), w.text(types.Unalias(object.Type())))
		return
	}
	start := "type " + w.text(named) // with its type parameters
	switch under := named.Underlying().(type) {
	case *types.Struct:
		w.add("%s struct", start)
		w.fields(start+" struct", under)
		w.methods(named)
	case *types.Interface:
		w.add("%s interface", start)
		w.interfaceMethods(start+" interface", under)
	default:
		w.add("%s %s", start, w.text(under))
		w.methods(named)
	}
}

func (w *writer) fields(start string, s *types.Struct) {
	for i := range s.NumFields() {
		field, tag := s.Field(i), s.Tag(i)
		if tag != "" {
			tag = " `" + tag + "`"
		}
		switch {
		case !field.Exported():
		case field.Embedded():
			w.add("%s, embedded %s%s", start, w.text(field.Type()), tag)
		default:
			w.add("%s, %s %s%s", start, field.Name(), w.text(field.Type()), tag)
		}
	}
}

func (w *writer) interfaceMethods(start string, of *types.Interface) {
	if of.NumMethods() == 0 {
		w.add("%s of %s", start, w.text(of)) // any, or a constraint
	}
	for method := range of.Methods() {
		if method.Exported() {
			w.add("%s, %s%s", start, method.Name(), w.signature(method))
		} else {
			w.add("%s, unexported methods", start) // no other package implements it
		}
	}
}

// methods writes the exported methods of a type and of a pointer to it, including promoted methods.
func (w *writer) methods(named *types.Named) {
	byValue := types.NewMethodSet(named)
	for selection := range types.NewMethodSet(types.NewPointer(named)).Methods() {
		method := selection.Obj().(*types.Func)
		receiver := w.text(named)
		if byValue.Lookup(method.Pkg(), method.Name()) == nil {
			receiver = "*" + receiver
		}
		if method.Exported() {
			w.add("method (%s) %s%s", receiver, method.Name(), w.signature(method))
		}
	}
}

func (w *writer) signature(f *types.Func) string {
	return strings.TrimPrefix(w.text(f.Type()), "func")
}

func (w *writer) text(t types.Type) string { return types.TypeString(t, w.short) }

// short returns the qualifier of a name from package p.
func (w *writer) short(p *types.Package) string {
	if p == w.own {
		return ""
	}
	return p.Name()
}
