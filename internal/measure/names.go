package measure

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/types"
	"maps"
	"slices"
	"strings"
)

// Pair is two files of the root that use each other: code in each names something that the other
// declares, be it a type, function, variable, constant, method or field.
type Pair struct {
	A, B         string   // file names, A before B in the alphabet
	FromB, FromA []string // what A uses of B, and B of A
}

// String names the files, and what they use of each other.
func (p Pair) String() string {
	return fmt.Sprintf("%s and %s: %s uses %s; %s uses %s",
		p.A, p.B, p.A, few(p.FromB), p.B, few(p.FromA))
}

// few joins the first names only; a pair of files may share fifty.
func few(names []string) string {
	const most = 6
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// Pairs returns the files of the root that use each other in both directions, in the order of their
// names.
func (m *Module) Pairs() []Pair {
	uses := m.uses()
	var pairs []Pair
	for way, names := range uses {
		back := uses[direction{way.to, way.from}]
		if back != nil && way.from < way.to {
			pairs = append(pairs, Pair{way.from, way.to, sorted(names), sorted(back)})
		}
	}
	slices.SortFunc(pairs, func(x, y Pair) int {
		return cmp.Or(strings.Compare(x.A, y.A), strings.Compare(x.B, y.B))
	})
	return pairs
}

// direction is from a file to another.
type direction struct{ from, to string }

// uses returns which names of another file each file of the root uses.
func (m *Module) uses() map[direction]map[string]bool {
	uses := map[direction]map[string]bool{}
	for id, object := range m.info.Uses {
		if object.Pkg() != m.root {
			continue
		}
		way := direction{m.file(id.Pos()), m.file(object.Pos())}
		if way.from == way.to {
			continue
		}
		if uses[way] == nil {
			uses[way] = map[string]bool{}
		}
		uses[way][object.Name()] = true
	}
	return uses
}

func sorted(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }

// StoreCalls returns where the root calls a method of store.Store, or of another interface of that
// package. A method that is passed on as a value counts as a call.
func (m *Module) StoreCalls() []string {
	var found []*ast.SelectorExpr
	for selector, selection := range m.info.Selections {
		method, ok := selection.Obj().(*types.Func)
		if ok && m.ofStore(method) {
			found = append(found, selector)
		}
	}
	slices.SortFunc(found, func(a, b *ast.SelectorExpr) int { return cmp.Compare(a.Pos(), b.Pos()) })
	var calls []string
	for _, f := range found {
		calls = append(calls, fmt.Sprintf("%s: %s", m.at(f.Sel.Pos()), f.Sel.Name))
	}
	return calls
}

func (m *Module) ofStore(method *types.Func) bool {
	of := method.Pkg() // nil for the Error method of error
	return of != nil && of.Path() == m.Path+"/store" &&
		types.IsInterface(method.Signature().Recv().Type())
}

// Exported returns the exported names of the root: what it declares for all to use, and the methods
// and fields of its types.
func (m *Module) Exported() []string {
	var exported []string
	for _, object := range m.declarations() {
		exported = append(exported, object.Name())
		if declared, ok := object.(*types.TypeName); ok {
			for _, member := range members(declared.Type()) {
				exported = append(exported, object.Name()+"."+member)
			}
		}
	}
	return exported
}

// Constants returns the exported constants of the root.
func (m *Module) Constants() []string {
	var constants []string
	for _, object := range m.declarations() {
		if _, ok := object.(*types.Const); ok {
			constants = append(constants, object.Name())
		}
	}
	return constants
}

// declarations returns what the root exports at package level.
func (m *Module) declarations() []types.Object {
	var exported []types.Object
	for _, name := range m.root.Scope().Names() {
		if object := m.root.Scope().Lookup(name); object.Exported() {
			exported = append(exported, object)
		}
	}
	return exported
}

// members returns the names of the exported methods and fields that are declared with a type.
func members(of types.Type) []string {
	var names []string
	for _, object := range append(methods(of), parts(of)...) {
		if object.Exported() {
			names = append(names, object.Name())
		}
	}
	return names
}

// methods returns the methods that are declared on a type.
func methods(of types.Type) []types.Object {
	var all []types.Object
	if named, ok := of.(*types.Named); ok {
		for method := range named.Methods() {
			all = append(all, method)
		}
	}
	return all
}

// parts returns the fields of a struct, or the methods that an interface names.
func parts(of types.Type) []types.Object {
	var all []types.Object
	switch under := of.Underlying().(type) {
	case *types.Struct:
		for field := range under.Fields() {
			all = append(all, field)
		}
	case *types.Interface:
		for method := range under.ExplicitMethods() {
			all = append(all, method)
		}
	}
	return all
}
