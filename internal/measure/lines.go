package measure

import (
	"cmp"
	"fmt"
	"go/ast"
	"slices"
	"unicode/utf8"
)

// LongLines returns the lines with more than width columns. A character is one column, a tab too.
func LongLines(files []*File, width int) []string {
	var long []string
	for _, f := range files {
		for i, line := range f.Lines {
			if n := utf8.RuneCountInString(line); n > width {
				long = append(long, fmt.Sprintf("%s:%d: %d columns", f.Name, i+1, n))
			}
		}
	}
	return long
}

// Lines returns how many lines the files have together, comments and empty ones among them.
func Lines(files []*File) int {
	n := 0
	for _, f := range files {
		n += len(f.Lines)
	}
	return n
}

// LongFiles returns the files with more than max lines.
func LongFiles(files []*File, max int) []string {
	var long []string
	for _, f := range files {
		if len(f.Lines) > max {
			long = append(long, fmt.Sprintf("%s: %d lines", f.Name, len(f.Lines)))
		}
	}
	return long
}

// LongestFunctions returns the n longest functions. The lines between the braces count.
func (m *Module) LongestFunctions(files []*File, n int) []string {
	functions := declared(files)
	slices.SortStableFunc(functions, func(a, b *ast.FuncDecl) int {
		return cmp.Compare(m.length(b), m.length(a))
	})
	var longest []string
	for _, f := range functions[:min(n, len(functions))] {
		longest = append(longest, fmt.Sprintf("%s: %s: %d lines", m.at(f.Pos()), name(f), m.length(f)))
	}
	return longest
}

func (m *Module) length(f *ast.FuncDecl) int {
	if f.Body == nil {
		return 0
	}
	return m.fset.Position(f.Body.Rbrace).Line - m.fset.Position(f.Body.Lbrace).Line - 1
}

// ManyParameters returns the functions with n or more parameters, function literals aside. The
// context is counted unless contextAside.
func (m *Module) ManyParameters(files []*File, n int, contextAside bool) []string {
	var many []string
	for _, f := range declared(files) {
		all, contexts := parameters(f)
		if contextAside {
			all -= contexts
		}
		if all >= n {
			many = append(many, fmt.Sprintf("%s: %s: %d", m.at(f.Pos()), name(f), all))
		}
	}
	return many
}

// parameters counts the parameters of f, and how many of them are a context.Context.
func parameters(f *ast.FuncDecl) (all, contexts int) {
	for _, p := range f.Type.Params.List {
		n := max(1, len(p.Names)) // a parameter without a name counts too
		all += n
		if s, ok := p.Type.(*ast.SelectorExpr); ok && s.Sel.Name == "Context" {
			contexts += n
		}
	}
	return all, contexts
}

// MethodsOn returns the methods on the named type of the root and on pointers to it.
func (m *Module) MethodsOn(receiver string) []string {
	var methods []string
	for _, f := range declared(m.Root()) {
		if receiverOf(f) == receiver {
			methods = append(methods, fmt.Sprintf("%s: %s", m.at(f.Pos()), name(f)))
		}
	}
	return methods
}

// declared returns the functions and methods that the files declare.
func declared(files []*File) []*ast.FuncDecl {
	var functions []*ast.FuncDecl
	for _, f := range files {
		for _, d := range f.syntax.Decls {
			if function, ok := d.(*ast.FuncDecl); ok {
				functions = append(functions, function)
			}
		}
	}
	return functions
}

// name returns a function's name, that of a method with its type before it.
func name(f *ast.FuncDecl) string {
	if receiver := receiverOf(f); receiver != "" {
		return receiver + "." + f.Name.Name
	}
	return f.Name.Name
}

// receiverOf returns the name of the type that f is a method on, or "" if it is none.
func receiverOf(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return ""
	}
	of := f.Recv.List[0].Type
	if pointer, ok := of.(*ast.StarExpr); ok {
		of = pointer.X
	}
	if generic, ok := of.(*ast.IndexExpr); ok {
		of = generic.X
	}
	if id, ok := of.(*ast.Ident); ok {
		return id.Name
	}
	return ""
}
