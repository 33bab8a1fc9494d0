package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"strings"
	"testing"
)

func TestLinesTellWhatAUserCanReach(t *testing.T) {
	const source = `package shop

const Limit = 1 << 40

var Default, hidden Cart

type (
	Cart struct {
		Size int ` + "`json:\"size\"`" + `
		Base
		secret string
	}
	Base struct{}
	Any = any
	Sealed interface { Open() error; sealed() }
	Number interface { ~int | ~string }
	List[T any] []T
	private struct{ Size int }
)

func (*Cart) Add(n int, more ...string) (err error) { return nil }
func (Base) Promoted() {}
func (*Cart) unexported() {}
func (l List[T]) Len() int { return len(l) }
func Map[T, U any](f func(T) U) {}
func unexported() {}
`
	const want = `const Limit untyped int = 1099511627776
func Map[T, U any](f func(T) U)
method (*Cart) Add(n int, more ...string) (err error)
method (Base) Promoted()
method (Cart) Promoted()
method (List[T any]) Len() int
type Any = any
type Base struct
type Cart struct
type Cart struct, Size int ` + "`json:\"size\"`" + `
type Cart struct, embedded Base
type List[T any] []T
type Number interface
type Number interface of interface{~int | ~string}
type Sealed interface
type Sealed interface, Open() error
type Sealed interface, unexported methods
var Default Cart
`
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, "shop.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	p, err := new(types.Config).Check("example.test/shop", files, []*ast.File{file}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(lines(p), "\n") + "\n"; got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
