// Package measure counts how the code of this module is arranged: which package imports which, how
// long lines and functions are, and which files of the root package use each other. The command in
// cmd/measures prints the numbers; house_test.go in the root holds some of them.
//
// Tests are not measured. The root is type-checked with the export data that go list builds, so
// that the packages it imports need not be read.
package measure

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Module is the code of one Go module without its tests.
type Module struct {
	Path     string
	Packages []*Package

	fset  *token.FileSet
	root  *types.Package
	built []*ast.File // the root's files, without those that build constraints leave out
	info  *types.Info // of the root
}

// Package is one package of a module.
type Package struct {
	Name    string // the import path below the module's: "internal/seal", and "" for the root
	Imports []string
	Files   []*File
}

// File is one file of a package.
type File struct {
	Name  string // below the module's directory, with slashes: "internal/seal/seal.go"
	Lines []string

	syntax *ast.File
}

// listed is what go list says about a package.
type listed struct {
	ImportPath, Dir, Export                    string
	DepOnly                                    bool
	GoFiles, CgoFiles, IgnoredGoFiles, Imports []string
	Module                                     *struct{ Path string }
}

// Load reads the module in dir, whose root must be a package, with one call of the go command.
func Load(dir string) (*Module, error) {
	all, err := list(dir)
	if err != nil {
		return nil, err
	}
	m := &Module{fset: token.NewFileSet()}
	exports := map[string]string{}
	for _, l := range all {
		exports[l.ImportPath] = l.Export
		if !l.DepOnly {
			if err := m.add(l); err != nil {
				return nil, err
			}
		}
	}
	return m, m.check(exports)
}

func list(dir string) ([]listed, error) {
	fields := "ImportPath,Dir,Export,DepOnly,GoFiles,CgoFiles,IgnoredGoFiles,Imports,Module"
	cmd := exec.Command("go", "list", "-export", "-deps", "-json="+fields, "./...")
	var stderr strings.Builder
	cmd.Dir, cmd.Stderr = dir, &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list in %s: %w\n%s", dir, err, &stderr)
	}
	var all []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var l listed
		if err := d.Decode(&l); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("reading what go list prints: %w", err)
		}
		all = append(all, l)
	}
}

// add reads the files of one package of the module.
func (m *Module) add(l listed) error {
	m.Path = l.Module.Path
	name := strings.TrimPrefix(strings.TrimPrefix(l.ImportPath, m.Path), "/")
	p := &Package{Name: name, Imports: l.Imports}
	m.Packages = append(m.Packages, p)
	for _, base := range slices.Concat(l.GoFiles, l.CgoFiles, l.IgnoredGoFiles) {
		if strings.HasSuffix(base, "_test.go") {
			continue // IgnoredGoFiles holds tests too
		}
		f, err := m.read(filepath.Join(l.Dir, base), path.Join(name, base))
		if err != nil {
			return err
		}
		p.Files = append(p.Files, f)
		if name == "" && slices.Contains(l.GoFiles, base) {
			m.built = append(m.built, f.syntax)
		}
	}
	return nil
}

func (m *Module) read(file, name string) (*File, error) {
	source, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	syntax, err := parser.ParseFile(m.fset, name, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimSuffix(string(source), "\n"), "\n")
	return &File{Name: name, Lines: lines, syntax: syntax}, nil
}

// check finds out what the names in the root mean.
func (m *Module) check(exports map[string]string) error {
	if len(m.built) == 0 {
		return errors.New("no package in the module's directory")
	}
	open := func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) }
	config := types.Config{Importer: importer.ForCompiler(m.fset, "gc", open)}
	m.info = &types.Info{
		Uses:       map[*ast.Ident]types.Object{},
		Selections: map[*ast.SelectorExpr]*types.Selection{},
	}
	var err error
	m.root, err = config.Check(m.Path, m.fset, m.built, m.info)
	return err
}

// Root returns the files of the root package.
func (m *Module) Root() []*File {
	for _, p := range m.Packages {
		if p.Name == "" {
			return p.Files
		}
	}
	return nil
}

// Below returns the files of the packages in the named directories and below them.
func (m *Module) Below(dirs ...string) []*File {
	var files []*File
	for _, p := range m.Packages {
		if top, _, _ := strings.Cut(p.Name, "/"); slices.Contains(dirs, top) {
			files = append(files, p.Files...)
		}
	}
	return files
}

// file returns the name of the file that holds pos.
func (m *Module) file(pos token.Pos) string { return m.fset.Position(pos).Filename }

// at returns the place of pos as compilers write it.
func (m *Module) at(pos token.Pos) string {
	p := m.fset.Position(pos)
	return fmt.Sprintf("%s:%d", p.Filename, p.Line)
}
