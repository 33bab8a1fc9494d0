package claims_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
)

const fifteen = `{
	"iss": "https://id.example/realms/shop",
	"sub": "248289761001",
	"aud": "shop",
	"exp": 1311281970,
	"iat": 1311280970,
	"auth_time": 1311280969,
	"sid": "08a5019c-17e1-4977-8f42-65a12843ea02",
	"acr": "1",
	"name": "Jane Doe",
	"given_name": "Jane",
	"family_name": "Doe",
	"preferred_username": "j.doe",
	"email": "janedoe@shop.example",
	"email_verified": true,
	"groups": ["admin", "staff", "customers"]
}`

type three struct {
	Email    string   `json:"email"`
	Verified bool     `json:"email_verified"`
	Groups   []string `json:"groups"`
}

type (
	inner struct {
		Roles []string `json:"roles"`
		Next  *inner   `json:"next"`
	}
	// base is embedded; its fields are promoted.
	base struct {
		Sub    string `json:"sub"`
		Hidden string `json:"hidden"`
		Name   string `json:"name"`
	}
	Left  struct{ Both, OnlyLeft string }
	Right struct{ Both, OnlyRight string }
	// everything has a field of each kind that Decode treats in its own way.
	everything struct {
		base
		*Left
		Right
		Tagged   base   `json:"tagged"`
		Hidden   string `json:"hidden"` // and not the one of base
		Omitted  string `json:"omitted,omitempty"`
		Quoted   int64  `json:"quoted,string"`
		Untagged string
		Skipped  string `json:"-"`
		//lint:ignore SA5008 it names the field "-"
		Dash string `json:"-,"`
		//lint:ignore SA5008 encoding/json ignores a tag with a quotation mark in it
		BadTag     string      `json:"bad\"tag"`
		Sign       string      `json:"https://id.example/role"`
		Kelvin     string      `json:"kelvin"`
		Number     json.Number `json:"number"`
		Float      float64     `json:"float"`
		Maybe      *string     `json:"maybe"`
		Realm      inner       `json:"realm"`
		List       []inner     `json:"list"`
		Two        [2]inner    `json:"two"`
		Map        map[string]inner
		Pointers   map[string]**inner `json:"pointers"`
		Any        any                `json:"any"`
		Raw        json.RawMessage    `json:"raw"`
		Own        folding            `json:"own"`
		OwnPointer *folding           `json:"own_pointer"`
		When       time.Time          `json:"when"`
		//lint:ignore U1000 a member of this name must not reach it
		unexported string
	}
	// folding decodes itself, as encoding/json does without Decode.
	folding struct{ Roles []string }
)

func (f *folding) UnmarshalJSON(text []byte) error {
	return json.Unmarshal(text, (*struct{ Roles []string })(f))
}

func TestDecodeAsEncodingJSON(t *testing.T) {
	whole := `{
		"sub":"s","hidden":"above","name":"n","Both":"none","OnlyLeft":"l",
		"OnlyRight":"r","tagged":{"sub":"t","name":"é\u2028<&>\"\\"},"omitted":"o",
		"quoted":"-12345678901234567","Untagged":"u","Skipped":"x","-":"dash","BadTag":"b",
		"https://id.example/role":"owner","kelvin":"k","number":123456789012345678901234567890.10,
		"float":-0.5e3,"maybe":null,"unexported":"x","unknown":{"a":[1,{}]},
		"realm":{"roles":["a","b"],"next":{"roles":[],"next":null}},
		"list":[{"roles":["x"]},null,{"next":{}}],"two":[{"roles":["1"]},{},{"roles":["3"]}],
		"Map":{"k":{"roles":["m"]},"K":{}},"pointers":{"p":{"roles":["q"]}},
		"any":{"roles":[1,true,null,{"Roles":[]}]},"raw":{"A":1,"a":[2.50]},
		"own":{"roles":["o"]},"own_pointer":{"Roles":["p"]},"when":"2026-01-02T03:04:05Z"
	}`
	texts := map[string]string{
		"every member": whole, "no member": `{}`, "an object for a list": `{"list":{"roles":[]}}`,
		"a list for an object": `{"realm":[{"roles":[]}]}`, "an object for text": `{"sub":{"a":1}}`,
		"a number for text": `{"sub":1}`, "an object for a time": `{"when":{"a":1}}`,
		"an unquoted number": `{"quoted":1}`, "a number too large": `{"float":1e999}`,
	}
	for name, text := range texts {
		for _, v := range targets() {
			t.Run(fmt.Sprintf("%s into %T", name, v), func(t *testing.T) { sameAsJSON(t, text, v) })
		}
	}
}

// targets returns new pointers to what an application may decode into.
func targets() []any {
	var p *everything
	var iface any = new(everything)
	return []any{
		new(everything), &p, &iface, new(map[string]any), new(any), new(json.RawMessage), new(base),
		new(map[string]json.RawMessage), new(map[string]inner), new(map[string]*everything),
		new([]inner), new(string), new(time.Time), new(folding), new(struct{ folding }),
		new(map[int]string), new(chan int), new(func()), new(fmt.Stringer), new(struct{}),
		&struct{ Base *base }{&base{Name: "kept"}},
	}
}

// sameAsJSON compares Decode of the text with json.Unmarshal. v is only asked for its type.
func sameAsJSON(t *testing.T, text string, v any) {
	t.Helper()
	o := mustParse(t, text)
	got, want := reflect.New(reflect.TypeOf(v).Elem()), reflect.New(reflect.TypeOf(v).Elem())
	gotErr := claims.Decode(got.Interface(), o)
	wantErr := json.Unmarshal(o.AppendJSON(nil), want.Interface())
	if fmt.Sprint(gotErr) != fmt.Sprint(wantErr) {
		t.Errorf("Decode into %T: error %v, want %v", v, gotErr, wantErr)
	}
	if wantErr == nil && !reflect.DeepEqual(got.Interface(), want.Interface()) {
		t.Errorf("Decode into %T: got %+v, want %+v", v, got.Elem(), want.Elem())
	}
}

// TestDecodeIsExact decodes members whose names only fold to the name of a field.
func TestDecodeIsExact(t *testing.T) {
	const (
		folded = `"Roles":["evil"],"role\u017f":["evil"],"ROLES":["evil"],"NEXT":{"roles":["evil"]}`
		object = `{"roles":["good"],` + folded + `}`
	)
	good := inner{Roles: []string{"good"}}
	pointer := &good
	tests := []struct {
		name, text string
		into, want any
	}{
		{"C069 a struct", object, new(inner), &good},
		{"C069 a struct without the exact name", `{` + folded + `}`, new(inner), &inner{}},
		{"C069 the Kelvin sign", "{\"kelvin\":\"k\",\"\u212aelvin\":\"evil\"}", new(everything),
			&everything{Kelvin: "k"}},
		{"C069 a struct in a struct", `{"next":` + object + `}`, new(inner), &inner{Next: &good}},
		{"C069 a struct that is there already", `{"next":` + object + `}`,
			&inner{Next: &inner{Roles: []string{"a", "b"}}}, &inner{Next: &good}},
		{"C069 a list of structs", `{"list":[` + object + `]}`, new(everything),
			&everything{List: []inner{good}}},
		{"C069 an array of structs", `{"two":[{},` + object + `,` + object + `]}`, new(everything),
			&everything{Two: [2]inner{{}, good}}},
		{"C069 a map of structs", `{"a":` + object + `}`, new(map[string]inner),
			&map[string]inner{"a": good}},
		{"C069 a map of pointers", `{"a":` + object + `}`, new(map[string]**inner),
			&map[string]**inner{"a": &pointer}},
		{"C069 a list of lists", `{"a":[[` + object + `]]}`, new(map[string][][]inner),
			&map[string][][]inner{"a": {{good}}}},
		{"C069 an embedded struct", `{"sub":"s","SUB":"evil","\u017fub":"evil"}`, new(everything),
			&everything{base: base{Sub: "s"}}},
		{"C069 an embedded struct without the exact name", `{"SUB":"evil","Name":"evil"}`,
			new(everything), &everything{}},
		{"C069 two fields of one name", `{"Both":"x","both":"x","BOTH":"x"}`, new(everything),
			&everything{}},
		{"C069 an unexported field", `{"unexported":"x","Unexported":"x"}`, new(everything),
			&everything{}},
		{"C069 a field without a tag", `{"untagged":"evil"}`, new(everything), &everything{}},
		{"C069 a tag with options", `{"Quoted":"666","OMITTED":"evil"}`, new(everything),
			&everything{}},
		{"C069 a field that is left out", `{"Skipped":"x","skipped":"x","-":"d"}`, new(everything),
			&everything{Dash: "d"}},
		{"C069 an interface that holds a pointer", `{"any":` + object + `}`,
			&everything{Any: &inner{}}, &everything{Any: &good}},
		{"C069 a list of such interfaces", `{"a":[` + object + `]}`,
			&struct {
				A []any `json:"a"`
			}{[]any{&inner{}}},
			&struct {
				A []any `json:"a"`
			}{[]any{&good}}},
		{"C069 a list of such interfaces beyond its length", `{"a":[` + object + `]}`,
			&struct {
				A []any `json:"a"`
			}{[]any{&inner{}}[:0]},
			&struct {
				A []any `json:"a"`
			}{[]any{&good}}},

		{"a type that decodes itself sees every member", `{"own":{"ROLES":["x"]}}`,
			new(everything), &everything{Own: folding{[]string{"x"}}}},
		{"raw JSON has every member", `{"raw":{"A":1,"a":2}}`, new(everything),
			&everything{Raw: json.RawMessage(`{"A":1,"a":2}`)}},
		{"an interface has every member", `{"any":{"A":true,"a":false}}`, new(everything),
			&everything{Any: map[string]any{"A": true, "a": false}}},
		{"a map has every member", `{"a":{},"A":{}}`, new(map[string]inner),
			&map[string]inner{"a": {}, "A": {}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := claims.Decode(tt.into, mustParse(t, tt.text)); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(tt.into, tt.want) {
				t.Errorf("Decode of %s = %+v, want %+v", tt.text, tt.into, tt.want)
			}
		})
	}
}

func TestDecodePrecedence(t *testing.T) {
	first := mustParse(t, `{"a":null,"b":{"x":1}}`)
	second := mustParse(t, `{"b":{"y":2},"c":"second"}`)
	third := mustParse(t, `{"a":"third","c":"third","d":"third"}`)
	var got json.RawMessage
	if err := claims.Decode(&got, first, second, third); err != nil {
		t.Fatal(err)
	}
	if want := `{"d":"third","c":"second","a":null,"b":{"x":1}}`; string(got) != want {
		t.Errorf("Decode = %s, want %s", got, want)
	}
	twice := claims.Object(claims.Builder{}.Text("a", "first").Text("a", "second"))
	var s struct {
		A string `json:"a"`
	}
	if err := claims.Decode(&s, twice); err != nil || s.A != "first" {
		t.Errorf("of two members with one name Decode took %q, want the first as Get does", s.A)
	}
	if err := claims.Decode(&s); err != nil || s.A != "first" {
		t.Errorf("Decode of nothing: %q, %v", s.A, err)
	}
}

func TestDecodeRefusesWhatIsNoPointer(t *testing.T) {
	for _, v := range []any{nil, inner{}, map[string]any{}, (*inner)(nil), "text"} {
		want := json.Unmarshal([]byte(`{}`), v)
		if err := claims.Decode(v, mustParse(t, `{}`)); err == nil || err.Error() != want.Error() {
			t.Errorf("Decode into %T: error %v, want %v", v, err, want)
		}
	}
}

// Recursive embeds itself.
type Recursive struct {
	Name string       `json:"name"`
	Sub  []*Recursive `json:"sub"`
	*Recursive
}

// TestDecodeIntoRecursiveTargets ends.
func TestDecodeIntoRecursiveTargets(t *testing.T) {
	var itself any
	itself = &itself
	for _, v := range []any{itself, new(Recursive)} {
		if err := claims.Decode(v, mustParse(t, `{"name":"a","sub":[{"name":"b"}]}`)); err != nil {
			t.Errorf("Decode into %T: %v", v, err)
		}
	}
}

func TestDecodeOfDamagedFrames(t *testing.T) {
	whole := string(mustParse(t, fifteen))
	frames := []string{
		"\x01a", "\x01a\x00", "\x01a\x01?", "\x01a\x02nx", "\x01a\x02b2", "\x01a\x03d1x",
		"\x01a\x02s\xff", "\x01\xff\x01n", "\x7fa\x01n", "\x01a\x03a\x05n", "\x03sub\x03o\x05n",
		strings.Repeat("\xff", 20), "\x06groups\x02a\xff", string(nestedFrame(5000)),
	}
	for i := range whole {
		frames = append(frames, whole[:i], whole[:i]+"\xff"+whole[i+1:])
	}
	for _, frame := range frames {
		for _, v := range targets() {
			_ = claims.Decode(v, claims.Object(frame)) // an error or not: it does not panic
		}
	}
}

func TestDecodeOfDeepFramesIsBounded(t *testing.T) {
	type deep struct {
		A *deep `json:"a"`
	}
	var typed deep
	if err := claims.Decode(&typed, nestedFrame(5000)); err != nil {
		t.Fatal(err)
	}
	depth := 0
	for d := &typed; d != nil; d = d.A {
		depth++
	}
	if depth > 33 {
		t.Errorf("decoded %d objects in one another", depth)
	}
}

func TestBuilder(t *testing.T) {
	below := claims.Object(claims.Builder{}.Add("n", claims.Int(-12)).Add("null", ""))
	built := claims.Object(claims.Builder{}.Text("t", "é").Object("o", below).Object("empty", ""))
	text := string(built.AppendJSON(nil))
	if want := `{"t":"é","o":{"n":-12,"null":null},"empty":{}}`; text != want {
		t.Errorf("built %s, want %s", text, want)
	}
	if o, err := claims.Valid(string(built)); err != nil || o != mustParse(t, text) {
		t.Errorf("the frame %q is not that of its JSON: %v", built, err)
	}
}

// TestStringsAreWrittenAsEncodingJSONWritesThem compares every character and broken text.
func TestStringsAreWrittenAsEncodingJSONWritesThem(t *testing.T) {
	check := func(s string) {
		want, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := claims.Text(s).AppendJSON(nil); !bytes.Equal(got, want) {
			t.Errorf("AppendJSON of %q = %s, want %s", s, got, want)
		}
	}
	for r := range rune(0x11000) {
		check("a" + string(r) + "b")
	}
	for _, s := range []string{"", "\xff", "a\x80", "é\xff", "a\xe2\x80", "\xed\xa0\x80", "\U0001f600"} {
		check(s)
	}
}

// FuzzDecode states that Decode is json.Unmarshal where no name folds to the name of a field.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		identity, fifteen, `{"sub":"a","Sub":"b"}`, `{"list":[{"next":{}}]}`,
	} {
		f.Add([]byte(seed))
	}
	names := []string{
		"roles", "next", "sub", "hidden", "name", "Base", "OnlyLeft", "OnlyRight", "tagged", "omitted",
		"quoted", "Untagged", "-", "BadTag", "https://id.example/role", "kelvin", "number", "float",
		"maybe", "realm", "list", "two", "Map", "pointers", "any", "raw", "own", "own_pointer", "when",
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		o, err := claims.Parse(text)
		if err != nil || onlyFolds(o.Value(), names) {
			return
		}
		for _, v := range targets() {
			sameAsJSON(t, string(text), v)
		}
	})
}

// onlyFolds reports whether v has a member whose name folds to one of names and is none of them.
func onlyFolds(v claims.Value, names []string) bool {
	for e := range v.Elements() {
		if onlyFolds(e, names) {
			return true
		}
	}
	o, _ := v.Object()
	for name, v := range o.All() {
		exact, folds := false, false
		for _, n := range names {
			exact, folds = exact || n == name, folds || strings.EqualFold(n, name)
		}
		if folds && !exact || onlyFolds(v, names) {
			return true
		}
	}
	return false
}

func BenchmarkDecodeStruct(b *testing.B) {
	o := mustParse(b, fifteen)
	b.ReportAllocs()
	for b.Loop() {
		var c three
		if err := claims.Decode(&c, "", o, ""); err != nil || len(c.Groups) != 3 {
			b.Fatal(c, err)
		}
	}
}

func BenchmarkDecodeMap(b *testing.B) {
	o := mustParse(b, fifteen)
	b.ReportAllocs()
	for b.Loop() {
		var c map[string]any
		if err := claims.Decode(&c, "", o, ""); err != nil || len(c) != 15 {
			b.Fatal(c, err)
		}
	}
}

// BenchmarkUnmarshal is what encoding/json takes for the same, without any exactness.
func BenchmarkUnmarshal(b *testing.B) {
	for _, v := range []any{new(three), new(map[string]any)} {
		b.Run(fmt.Sprintf("%T", v), func(b *testing.B) {
			text := mustParse(b, fifteen).AppendJSON(nil)
			b.ReportAllocs()
			for b.Loop() {
				if err := json.Unmarshal(text, v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// selfDecoding decodes itself as many types do: by json.Unmarshal, which ignores the case of names.
type selfDecoding struct {
	Subject string   `json:"sub"`
	Groups  []string `json:"groups"`
}

func (f *selfDecoding) UnmarshalJSON(text []byte) error {
	type plain selfDecoding
	return json.Unmarshal(text, (*plain)(f))
}

func TestC069DecodeGivesTheFirstSourceLastToTypesThatDecodeThemselves(t *testing.T) {
	idToken := mustParse(t, `{"sub":"alice","groups":["user"]}`)
	userinfo := mustParse(t, `{"sub":"mallory","\u017fub":"victim","Groups":["admin"]}`)
	var got selfDecoding
	if err := claims.Decode(&got, "", idToken, userinfo); err != nil {
		t.Fatal(err)
	}
	if got.Subject != "alice" || !slices.Equal(got.Groups, []string{"user"}) {
		t.Errorf("got %+v, want the claims of the ID Token", got)
	}
}
