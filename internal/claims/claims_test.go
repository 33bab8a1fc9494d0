package claims_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
)

const identity = `{
	"iss": "https://id.example",
	"sub": "248289761001",
	"email_verified": true,
	"locked": false,
	"nickname": null,
	"updated_at": 1311280970,
	"balance": 12345678901234567890.10,
	"groups": ["admin", "staff"],
	"realm_access": {"roles": ["a", {"deep": "x"}], "empty": {}},
	"https://id.example/role": "owner",
	"til~de": "t"
}`

func mustParse(t testing.TB, text string) claims.Object {
	t.Helper()
	o, err := claims.Parse([]byte(text))
	if err != nil {
		t.Fatalf("Parse(%s): %v", text, err)
	}
	return o
}

func nested(depth int) string {
	return strings.Repeat(`{"a":`, depth) + "1" + strings.Repeat("}", depth)
}

func TestParse(t *testing.T) {
	tests := []struct {
		name, text string
		ok         bool
	}{
		{"an empty object", `{}`, true},
		{"space around the object", " {\"a\" : 1}\n", true},
		{"a surrogate pair", `{"a":"\ud83d\ude00"}`, true},
		{"the first and the last surrogate pair", `{"a":"\ud800\udc00","b":"\udbff\udfff"}`, true},
		{"an escaped backslash before u", `{"a":"\\ud800"}`, true},
		{"nesting at the limit", nested(32), true},
		{"C069 names that differ in case are two names", `{"sub":"a","SUB":"b"}`, true},
		{"equal names in different objects", `{"a":{"x":1},"b":{"x":1}}`, true},

		{"nothing", ``, false},
		{"null", `null`, false},
		{"C069 an array at the top", `[]`, false},
		{"a string at the top", `"a"`, false},
		{"C069 something after the object", `{}{}`, false},
		{"a trailing comma", `{"a":1,}`, false},
		{"a missing comma", `{"a":1 "b":2}`, false},
		{"an unfinished object", `{"a":1`, false},
		{"a number that is none", `{"a":01}`, false},
		{"a comment", `{/**/}`, false},
		{"C069 a duplicate name", `{"sub":"a","sub":"b"}`, false},
		{"C069 a duplicate name spelled with an escape", `{"sub":"a","s\u0075b":"b"}`, false},
		{"C069 a duplicate name below", `{"a":[{"x":1,"x":1}]}`, false},
		{"C069 invalid UTF-8 in a value", "{\"a\":\"\xff\"}", false},
		{"C069 invalid UTF-8 in a name", "{\"\xc0\xaf\":1}", false},
		{"C069 a lone high surrogate", `{"a":"\ud800"}`, false},
		{"C069 a lone low surrogate", `{"a":"x\uDC00y"}`, false},
		{"C069 two high surrogates", `{"a":"\ud800\ud800"}`, false},
		{"C069 a lone surrogate in a name", `{"\udfff":1}`, false},
		{"F09 nesting beyond the limit", nested(33), false},
		{"F09 a hundred thousand brackets", `{"a":` + strings.Repeat("[", 100_000), false},
		{"F09 a hundred thousand closed brackets",
			`{"a":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + "}", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o, err := claims.Parse([]byte(tt.text))
			if ok := err == nil; ok != tt.ok {
				t.Fatalf("Parse(%.60q) = %q, %v, want ok %v", tt.text, o, err, tt.ok)
			}
			if err != nil && o != "" {
				t.Errorf("Parse(%.60q) gave an object beside its error", tt.text)
			}
		})
	}
}

func TestParseSaysWhy(t *testing.T) {
	for text, want := range map[string]string{`{"a":1,"a":2}`: "the same name", `[]`: "not a JSON object", `{"a":`: "not one JSON value"} {
		if _, err := claims.Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%s): %v, want a word of %q", text, err, want)
		}
	}
}

func TestGetIsExact(t *testing.T) {
	o := mustParse(t, identity)
	if v, ok := o.Get("sub"); !ok || v.Kind() != claims.String {
		t.Fatalf("Get(sub) = %q, %v", v, ok)
	}
	// U+017F, the long s, folds to "s" in encoding/json.
	for _, name := range []string{"SUB", "Sub", "\u017fub", "su", "subs", "", "realm_access/roles"} {
		if v, ok := o.Get(name); ok {
			t.Errorf("Get(%q) = %q, want nothing", name, v)
		}
	}
}

func TestGetters(t *testing.T) {
	o := mustParse(t, identity)
	get := func(name string) claims.Value {
		v, ok := o.Get(name)
		if !ok {
			t.Fatalf("no member %q", name)
		}
		return v
	}
	if s, ok := get("iss").Str(); !ok || s != "https://id.example" {
		t.Errorf("iss = %q, %v", s, ok)
	}
	if b, ok := get("email_verified").Bool(); !ok || !b {
		t.Errorf("email_verified = %v, %v", b, ok)
	}
	if b, ok := get("locked").Bool(); !ok || b {
		t.Errorf("locked = %v, %v", b, ok)
	}
	if k := get("nickname").Kind(); k != claims.Null {
		t.Errorf("nickname is %q", k)
	}
	if n, ok := get("balance").Number(); !ok || n != "12345678901234567890.10" {
		t.Errorf("balance = %q, %v", n, ok)
	}
	if _, ok := get("sub").Number(); ok {
		t.Error("a string of digits is a number")
	}
	if _, ok := get("sub").Bool(); ok {
		t.Error("a string is a boolean")
	}
	if _, ok := get("updated_at").Str(); ok {
		t.Error("a number is a string")
	}
	if r, ok := get("realm_access").Object(); !ok || r == "" {
		t.Errorf("realm_access = %q, %v", r, ok)
	}
	var groups []string
	for e := range get("groups").Elements() {
		s, _ := e.Str()
		groups = append(groups, s)
	}
	if !slices.Equal(groups, []string{"admin", "staff"}) {
		t.Errorf("groups = %q", groups)
	}
	for e := range get("sub").Elements() {
		t.Errorf("a string has the element %q", e)
	}
}

func TestPointer(t *testing.T) {
	o := mustParse(t, identity)
	found := map[string]string{
		"/sub":                          `"248289761001"`,
		"/groups":                       `["admin","staff"]`,
		"/groups/0":                     `"admin"`,
		"/groups/1":                     `"staff"`,
		"/realm_access/roles/1/deep":    `"x"`,
		"/realm_access/empty":           `{}`,
		"/https:~1~1id.example~1role":   `"owner"`,
		"/til~0de":                      `"t"`,
		"/nickname":                     `null`,
		"/realm_access/roles":           `["a",{"deep":"x"}]`,
		"/balance":                      `12345678901234567890.10`,
		"/https:~1~1id.example~1role/0": "",
		"":                              "",
		"sub":                           "",
		"/":                             "",
		"/SUB":                          "",
		"/groups/2":                     "",
		"/groups/00":                    "",
		"/groups/+1":                    "",
		"/groups/-":                     "",
		"/groups/-1":                    "",
		"/groups/":                      "",
		"/groups/99999999999999999999":  "",
		"/groups/0/x":                   "",
		"/til~2de":                      "",
		"/til~0d":                       "",
		"/https:~1~1id.example~1rol":    "",
		"/til~":                         "",
		"/til~01":                       "",
		"/realm_access/empty/x":         "",
	}
	for pointer, want := range found {
		v, ok := o.Pointer(pointer)
		if ok != (want != "") {
			t.Errorf("Pointer(%q) found %v, want %v", pointer, ok, want != "")
		} else if got := string(v.AppendJSON(nil)); ok && got != want {
			t.Errorf("Pointer(%q) = %s, want %s", pointer, got, want)
		}
	}
}

func TestTime(t *testing.T) {
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	tests := []struct {
		text string
		want time.Time
		ok   bool
	}{
		{"0", at("1970-01-01T00:00:00Z"), true},
		{"1311280970", at("2011-07-21T20:42:50Z"), true},
		{"1311280970.5", at("2011-07-21T20:42:50.5Z"), true},
		{"1.31128097e9", at("2011-07-21T20:42:50Z"), true},
		{"253402300799", at("9999-12-31T23:59:59Z"), true},
		{"253402300800", time.Time{}, false},
		{"253402300799.9999999999", time.Time{}, false},
		{"-1", time.Time{}, false},
		{"-0.5", time.Time{}, false},
		{"1e300", time.Time{}, false},
		{"1e999", time.Time{}, false},
		{"9223372036854775807", time.Time{}, false},
		{"18446744073709551616", time.Time{}, false},
		{`"1311280970"`, time.Time{}, false},
		{"true", time.Time{}, false},
		{"null", time.Time{}, false},
		{strings.Repeat("9", 10_000), time.Time{}, false},
		{"[1311280970]", time.Time{}, false},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("C062 %.30s", tt.text), func(t *testing.T) {
			v, _ := mustParse(t, `{"exp":`+tt.text+`}`).Get("exp")
			got, ok := v.Time()
			if ok != tt.ok || !got.Equal(tt.want) {
				t.Errorf("Time of %s = %v, %v, want %v, %v", tt.text, got, ok, tt.want, tt.ok)
			}
		})
	}
}

func TestAppendJSONIsExact(t *testing.T) {
	for _, text := range []string{
		`{}`,
		`{"b":1,"a":[true,false,null,{"z":-0.10e+5}],"":"é\n"}`,
		`{"n":123456789012345678901234567890}`,
	} {
		if got := string(mustParse(t, text).AppendJSON(nil)); got != text {
			t.Errorf("AppendJSON = %s, want %s", got, text)
		}
	}
}

func TestFilterAndWith(t *testing.T) {
	o := mustParse(t, `{"a":1,"b":2,"c":3}`)
	x, err := claims.Of("x")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		got  claims.Object
		want string
	}{
		{"members that are kept stay in order",
			o.Filter(func(n string) bool { return n != "b" }), `{"a":1,"c":3}`},
		{"nothing kept is the empty object", o.Filter(func(string) bool { return false }), `{}`},
		{"a member is replaced where it stands", o.With("b", x), `{"a":1,"b":"x","c":3}`},
		{"a new member goes to the end", o.With("d", x), `{"a":1,"b":2,"c":3,"d":"x"}`},
		{"several are replaced where they stand, and added in their order",
			o.WithAll(mustParse(t, `{"e":1,"c":"x","d":2,"a":"y"}`)), `{"a":"y","b":2,"c":"x","e":1,"d":2}`},
		{"none is added", o.WithAll(""), `{"a":1,"b":2,"c":3}`},
		{"all are added", claims.Object("").WithAll(o), `{"a":1,"b":2,"c":3}`},
		{"the zero value is null", claims.Object("").With("d", ""), `{"d":null}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(tt.got.AppendJSON(nil)); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if _, err := claims.Valid(string(tt.got)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestOf(t *testing.T) {
	v, err := claims.Of(map[string]any{"roles": []string{"a"}, "n": 3})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(v.AppendJSON(nil)), `{"n":3,"roles":["a"]}`; got != want {
		t.Errorf("Of = %s, want %s", got, want)
	}
	for name, bad := range map[string]any{
		"a channel":        make(chan int),
		"duplicate names":  json.RawMessage(`{"a":1,"a":2}`),
		"too much nesting": json.RawMessage(nested(32)),
		"not UTF-8":        json.RawMessage("\"\xff\""),
	} {
		if v, err := claims.Of(bad); err == nil {
			t.Errorf("Of(%s) = %q, want an error", name, v)
		}
	}
}

func TestMakingValues(t *testing.T) {
	inner := claims.Object("").With("b", claims.Text("é"))
	o := claims.Object("").
		With("a", inner.Value()).
		With("empty", claims.Object("").Value()).
		With("c", claims.Text(""))
	if got, want := string(o.AppendJSON(nil)), `{"a":{"b":"é"},"empty":{},"c":""}`; got != want {
		t.Errorf("made %s, want %s", got, want)
	}
	if _, err := claims.Valid(string(o)); err != nil {
		t.Error(err)
	}
	if _, err := claims.Valid(string(o.With("d", claims.Text("\xff")))); err == nil {
		t.Error("Valid takes text that is not UTF-8")
	}
}

func TestValidRefusesDamage(t *testing.T) {
	whole := string(mustParse(t, identity))
	if _, err := claims.Valid(whole); err != nil {
		t.Fatalf("Valid of a whole frame: %v", err)
	}
	atLimit := nestedFrame(32)
	if _, err := claims.Valid(string(atLimit)); err != nil {
		t.Errorf("Valid of frames nested up to the limit: %v", err)
	}
	for name, frame := range map[string]string{
		"a cut frame":               whole[:len(whole)-1],
		"a name without value":      "\x01a",
		"a value of no kind":        "\x01a\x00",
		"an unknown kind":           "\x01a\x01?",
		"null with a body":          "\x01a\x02nx",
		"a boolean that is neither": "\x01a\x02b2",
		"a number that is none":     "\x01a\x03d1x",
		"an exponent that is none":  "\x01a\x03d1e",
		"a string not UTF-8":        "\x01a\x02s\xff",
		"a name not UTF-8":          "\x01\xff\x01n",
		"an endless length":         "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
		"a length past the end":     "\x7fa\x01n",
		"an element past its array": "\x01a\x03a\x05n",
		"frames nested too deeply":  string(nestedFrame(33)),
		"a very deep frame":         string(nestedFrame(5000)),
	} {
		if _, err := claims.Valid(frame); err == nil {
			t.Errorf("Valid(%s) took %.40q", name, frame)
		}
		readAll(claims.Object(frame))
	}
}

func nestedFrame(depth int) claims.Object {
	var o claims.Object
	for range depth - 1 {
		o = claims.Object("").With("a", claims.Value("o"+string(o)))
	}
	return o
}

// readAll calls every method that reads; none may panic. It returns a sum over all results, so that
// the compiler keeps the calls.
func readAll(o claims.Object) int {
	v, _ := o.Get("a")
	below, _ := o.Pointer("/a/0/a~1b")
	kept := o.Filter(func(string) bool { return true })
	size := len(v) + len(below) + len(kept) + len(kept.With("a", "")) + len(o.AppendJSON(nil))
	for name, v := range o.All() {
		same, _ := o.Pointer("/" + name)
		at, _ := v.Time()
		truth, _ := v.Bool()
		size += len(same) + len(at.String()) + len(strconv.FormatBool(truth))
		for e := range v.Elements() {
			size += len(e)
		}
		if inner, ok := v.Object(); ok {
			size += readAll(inner)
		}
	}
	return size
}

func TestReadingAllocatesNothing(t *testing.T) {
	o := mustParse(t, identity)
	if n := testing.AllocsPerRun(100, func() { readHot(o) }); n != 0 {
		t.Errorf("reading three claims allocates %v times", n)
	}
	frame := string(o)
	if n := testing.AllocsPerRun(100, func() { claims.Valid(frame) }); n != 0 {
		t.Errorf("Valid allocates %v times", n)
	}
}

func readHot(o claims.Object) bool {
	v, _ := o.Get("sub")
	sub, _ := v.Str()
	v, _ = o.Get("email_verified")
	verified, _ := v.Bool()
	v, _ = o.Pointer("/https:~1~1id.example~1role")
	role, _ := v.Str()
	v, _ = o.Get("groups")
	member := false
	for e := range v.Elements() {
		s, _ := e.Str()
		member = member || s == "staff"
	}
	return sub != "" && verified && role == "owner" && member
}

func BenchmarkRead(b *testing.B) {
	o := mustParse(b, identity)
	b.ReportAllocs()
	for b.Loop() {
		if !readHot(o) {
			b.Fatal("claims not found")
		}
	}
}

func BenchmarkParse(b *testing.B) {
	text := []byte(identity)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := claims.Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzParse states that Parse returns a valid frame with the content of the text, and that parsing
// the JSON of this frame gives the same frame again.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		identity, `{}`, `{"a":"\ud83d\ude00"}`, `{"a":1,"a":2}`, `{"a":"\ud800"}`, nested(32), `[`,
		`{"a":-0.0e-1}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		o, err := claims.Parse(text)
		if err != nil {
			return
		}
		if _, err := claims.Valid(string(o)); err != nil {
			t.Fatalf("the frame of %q is not valid", text)
		}
		back := o.AppendJSON(nil)
		if again, err := claims.Parse(back); err != nil || again != o {
			t.Fatalf("%q became %q, which reads as %q, %v", text, back, again, err)
		}
		if want, got := decode(t, text), decode(t, back); !bytes.Equal(want, got) {
			t.Fatalf("%q became %q", text, back)
		}
	})
}

// decode gives the text as encoding/json understands it, members sorted.
func decode(t *testing.T, text []byte) []byte {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v map[string]any
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("encoding/json refuses %q: %v", text, err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// FuzzValid states that no frame makes a method panic, and that the JSON of a valid one is valid.
func FuzzValid(f *testing.F) {
	f.Add(string(mustParse(f, identity)))
	f.Add("\xff\xff\xff\xff\x0f")
	f.Add("\x01a\x03a\x05n")
	f.Add("\x01a\x00")
	f.Fuzz(func(t *testing.T, frame string) {
		readAll(claims.Object(frame))
		o, err := claims.Valid(frame)
		if err != nil {
			return
		}
		if text := o.AppendJSON(nil); !json.Valid(text) {
			t.Fatalf("the valid frame %q has the JSON %q", frame, text)
		}
	})
}
func TestParseRepeated(t *testing.T) {
	for _, row := range []struct {
		name, text string
		ok         bool
	}{
		{"C033 a member again with the same value", `{"iss":"a","b":1,"iss":"a"}`, true},
		{"C033 a member again with another value", `{"iss":"a","iss":"b"}`, false},
		{"C033 a member again with another kind of value", `{"iss":"1","iss":1}`, false},
		{"C033 a member again, written otherwise", `{"iss":"a","iss":"\u0061"}`, true},
		{"C033 a member of a member again", `{"a":{"b":1,"b":1}}`, false},
		{"C033 three times", `{"a":1,"a":1,"a":2}`, false},
		{"no object", `[1]`, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			o, err := claims.ParseRepeated([]byte(row.text))
			if (err == nil) != row.ok {
				t.Errorf("%s: error %v", row.text, err)
			}
			n := 0
			for range o.All() {
				n++
			}
			if err == nil && n != strings.Count(row.text, ":")-1 {
				t.Errorf("%s has %d members", row.text, n)
			}
		})
	}
}
