package seal_test

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/oidcgate/oidcgate/internal/seal"
)

const gate = "https://shop.example"

var (
	key1 = countingKey(0)
	key2 = countingKey(100)

	record = seal.Binding{Purpose: "session", Name: "record", Secret: "cookie"}
)

// golden is the sealed form, version 1, of "clear" and "plaintext" under key1, gate and record. It
// was computed with another AES-GCM implementation by following the package comment.
const golden = "014dd95dd4636c656172a0a1a2a3a4a5a6a7a8a9aaab341855794f95a7575ae2c552d5834e601a46d051af96717591"

// countingKey returns the key whose first byte is first and whose every other byte is one more than
// the byte before it.
func countingKey(first byte) []byte {
	key := make([]byte, seal.KeyLen)
	for i := range key {
		key[i] = first + byte(i)
	}
	return key
}

func newRing(t testing.TB, gate string, keys ...[]byte) *seal.Ring {
	t.Helper()
	r, err := seal.NewRing(keys, gate)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func mustSeal(t testing.TB, r *seal.Ring, b seal.Binding, clear, plaintext string) []byte {
	t.Helper()
	sealed, err := r.Seal(b, []byte(clear), []byte(plaintext))
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

// opens fails unless sealed opens to clear and plaintext.
func opens(t *testing.T, r *seal.Ring, b seal.Binding, sealed []byte, clear, plaintext string) {
	t.Helper()
	gotClear, gotPlaintext, err := r.Open(b, len(clear), sealed)
	if err != nil || string(gotClear) != clear || string(gotPlaintext) != plaintext {
		t.Errorf("Open(%x) = %q, %q, %v; want %q, %q", sealed, gotClear, gotPlaintext, err, clear, plaintext)
	}
}

// refuses fails unless Open returns the error want and no data.
func refuses(t *testing.T, r *seal.Ring, b seal.Binding, clearLen int, sealed []byte, want error) {
	t.Helper()
	clear, plaintext, err := r.Open(b, clearLen, sealed)
	if err != want || clear != nil || plaintext != nil {
		t.Errorf("Open(%+v, %d, %x) = %q, %q, %v; want nothing and %v", b, clearLen, sealed, clear, plaintext, err, want)
	}
}

func TestRoundTrip(t *testing.T) {
	tests := []struct{ name, clear, plaintext string }{
		{"clear and plaintext come back", "clear", "plaintext"},
		{"clear may be empty", "", "plaintext"},
		{"plaintext may be empty", "clear", ""},
		{"both may be empty", "", ""},
		{"bytes of every kind come back", "\x00\xff\x80", "\xff\x00\r\n\x01"},
		{"a long value comes back", strings.Repeat("c", 300), strings.Repeat("p", 70_000)},
	}
	r := newRing(t, gate, key1)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sealed := mustSeal(t, r, record, tt.clear, tt.plaintext)
			if got, want := len(sealed), len(tt.clear)+len(tt.plaintext)+seal.Overhead; got != want {
				t.Errorf("sealed is %d bytes long, want %d", got, want)
			}
			opens(t, r, record, sealed, tt.clear, tt.plaintext)
		})
	}
}

func TestText(t *testing.T) {
	r := newRing(t, gate, key1)
	text, err := r.SealText(record, map[string]int{"a": 1})
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]int
	if err := r.OpenText(record, text, &got); err != nil || got["a"] != 1 {
		t.Errorf("got %v, error %v", got, err)
	}
	for name, junk := range map[string]string{
		"no base64url": text + "!", "padding": text + "=", "cut": text[:len(text)-4], "nothing": "",
	} {
		if err := r.OpenText(record, junk, &got); err == nil {
			t.Errorf("%s is opened", name)
		}
	}
	if err := r.OpenText(record, text, new(string)); err == nil {
		t.Error("an object is stored in a string")
	}
	if _, err := r.SealText(record, t.Log); err == nil {
		t.Error("a function is sealed")
	}
}

func TestAValueOfAnEarlierReleaseOpens(t *testing.T) {
	opens(t, newRing(t, gate, key1), record, unhex(t, golden), "clear", "plaintext")
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestClearIsReadableAndPlaintextIsNot(t *testing.T) {
	sealed := mustSeal(t, newRing(t, gate, key1), record, "deadline", "refresh token")
	if !bytes.Contains(sealed, []byte("deadline")) {
		t.Errorf("%q does not show the clear part", sealed)
	}
	if bytes.Contains(sealed, []byte("refresh")) {
		t.Errorf("%q shows the plaintext", sealed)
	}
}

func TestEqualValuesAreSealedDifferently(t *testing.T) {
	r := newRing(t, gate, key1)
	first, second := mustSeal(t, r, record, "c", "p"), mustSeal(t, r, record, "c", "p")
	if bytes.Equal(first, second) {
		t.Errorf("sealed twice, both times %x", first)
	}
}

func TestC103AChangedBitIsRefused(t *testing.T) {
	r := newRing(t, gate, key1)
	sealed := mustSeal(t, r, record, "clear", "plaintext")
	for i := range sealed {
		for bit := range 8 {
			changed := bytes.Clone(sealed)
			changed[i] ^= 1 << bit
			refuses(t, r, record, len("clear"), changed, wantForChangeAt(i, changed[i]))
		}
	}
}

// wantForChangeAt returns the error for a value of which the byte at i is now b.
func wantForChangeAt(i int, b byte) error {
	switch {
	case i == 0 && b > 1:
		return seal.ErrNewerVersion
	case 1 <= i && i <= 4:
		return seal.ErrUnknownKey
	}
	return seal.ErrUnreadable
}

func TestC103AValueOpensInNoOtherPlace(t *testing.T) {
	places := []struct {
		name, gate string
		binding    seal.Binding
	}{
		{"the session record", gate, record},
		{"another purpose", gate, seal.Binding{Purpose: "tokens", Name: "record", Secret: "cookie"}},
		{"another record", gate, seal.Binding{Purpose: "session", Name: "record2", Secret: "cookie"}},
		{"another browser", gate, seal.Binding{Purpose: "session", Name: "record", Secret: "cookie2"}},
		{"another gate", "https://admin.example", record},
		{"no secret", gate, seal.Binding{Purpose: "session", Name: "record"}},
		{"no name", gate, seal.Binding{Purpose: "session", Secret: "cookie"}},
		{"no purpose", gate, seal.Binding{Name: "record", Secret: "cookie"}},
		{"nothing", "", seal.Binding{}},
		{"name and secret exchanged", gate, seal.Binding{Purpose: "session", Name: "cookie", Secret: "record"}},
		{"purpose and name cut elsewhere", gate, seal.Binding{Purpose: "sessionr", Name: "ecord", Secret: "cookie"}},
		{"name and secret cut elsewhere", gate, seal.Binding{Purpose: "session", Name: "recordcoo", Secret: "kie"}},
		{"gate and purpose cut elsewhere", gate + "session", seal.Binding{Name: "record", Secret: "cookie"}},
		{"a name that imitates the length before the secret", gate, seal.Binding{Purpose: "session", Name: "record\x06cookie"}},
	}
	for i, from := range places {
		sealed := mustSeal(t, newRing(t, from.gate, key1), from.binding, "clear", "plaintext")
		for j, to := range places {
			t.Run(fmt.Sprintf("C103 from %s to %s", from.name, to.name), func(t *testing.T) {
				r := newRing(t, to.gate, key1)
				if i == j {
					opens(t, r, to.binding, sealed, "clear", "plaintext")
					return
				}
				refuses(t, r, to.binding, len("clear"), sealed, seal.ErrUnreadable)
			})
		}
	}
}

func TestTheBorderOfClearCannotBeMoved(t *testing.T) {
	r := newRing(t, gate, key1)
	sealed := mustSeal(t, r, record, "clear", "plaintext")
	for clearLen := -1; clearLen <= len(sealed); clearLen++ {
		if clearLen != len("clear") {
			refuses(t, r, record, clearLen, sealed, seal.ErrUnreadable)
		}
	}
}

func TestATruncatedValueIsRefused(t *testing.T) {
	r := newRing(t, gate, key1)
	sealed := mustSeal(t, r, record, "clear", "plaintext")
	for n := range sealed {
		refuses(t, r, record, len("clear"), sealed[:n], seal.ErrUnreadable)
		refuses(t, r, record, 0, sealed[:n], seal.ErrUnreadable)
	}
	refuses(t, r, record, len("clear"), append(bytes.Clone(sealed), 0), seal.ErrUnreadable)
	refuses(t, r, record, 0, nil, seal.ErrUnreadable)
}

func TestANewerVersionIsToldApart(t *testing.T) {
	r := newRing(t, gate, key1)
	for _, sealed := range [][]byte{{2}, {2, 1, 2, 3, 4, 5}, bytes.Repeat([]byte{0xff}, 100)} {
		refuses(t, r, record, 5, sealed, seal.ErrNewerVersion)
	}
}

func TestRotation(t *testing.T) {
	before := newRing(t, gate, key1)
	during := newRing(t, gate, key2, key1)
	after := newRing(t, gate, key2)
	old := mustSeal(t, before, record, "clear", "old")
	fresh := mustSeal(t, during, record, "clear", "fresh")

	t.Run("C103 the second key still opens", func(t *testing.T) { opens(t, during, record, old, "clear", "old") })
	t.Run("C103 the first key seals", func(t *testing.T) { opens(t, after, record, fresh, "clear", "fresh") })
	t.Run("C103 a key that was taken out is unknown", func(t *testing.T) {
		refuses(t, after, record, len("clear"), old, seal.ErrUnknownKey)
	})
	t.Run("C103 a key that is yet to come is unknown", func(t *testing.T) {
		refuses(t, before, record, len("clear"), fresh, seal.ErrUnknownKey)
	})
}

func TestFingerprint(t *testing.T) {
	r, again, other := newRing(t, gate, key1, key2), newRing(t, gate, key1), newRing(t, gate, key2)
	got := r.Fingerprint("subject", "alice")
	if !bytes.Equal(got, again.Fingerprint("subject", "alice")) {
		t.Error("another replica with the same first key makes another fingerprint")
	}
	for _, tt := range []struct {
		name  string
		other []byte
	}{
		{"another value", r.Fingerprint("subject", "bob")},
		{"another purpose", r.Fingerprint("session", "alice")},
		{"another key", other.Fingerprint("subject", "alice")},
	} {
		if bytes.Equal(got, tt.other) {
			t.Errorf("%s makes the same fingerprint", tt.name)
		}
	}
}

func TestNewRingRefuses(t *testing.T) {
	tests := []struct {
		name string
		keys [][]byte
		want string
	}{
		{"no keys", nil, "seal: no keys"},
		{"an empty key", [][]byte{key1, {}}, "seal: key 2 has 0 bytes, not 32"},
		{"a short key", [][]byte{key1[:31]}, "seal: key 1 has 31 bytes, not 32"},
		{"a long key", [][]byte{append(bytes.Clone(key1), 0)}, "seal: key 1 has 33 bytes, not 32"},
		{"one key twice", [][]byte{key1, key2, key1}, "seal: key 3 stands in the ring already"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := seal.NewRing(tt.keys, gate)
			if r != nil || err == nil || err.Error() != tt.want {
				t.Errorf("NewRing(%x) = %v, %v; want %q", tt.keys, r, err, tt.want)
			}
		})
	}
}

func TestTheRingKeepsItsOwnKeys(t *testing.T) {
	mine := bytes.Clone(key1)
	r := newRing(t, gate, mine)
	for i := range mine {
		mine[i] = 0
	}
	opens(t, r, record, unhex(t, golden), "clear", "plaintext")
}

func TestF42SealFailsWithoutRandomness(t *testing.T) {
	tests := []struct {
		name   string
		reader io.Reader
		want   error
	}{
		{"F42 a failing reader", iotest.ErrReader(io.ErrClosedPipe), io.ErrClosedPipe},
		{"F42 a reader that ends too soon", strings.NewReader("eleven byte"), io.ErrUnexpectedEOF},
	}
	r := newRing(t, gate, key1)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			defer func(system io.Reader) { rand.Reader = system }(rand.Reader)
			rand.Reader = tt.reader
			sealed, err := r.Seal(record, nil, []byte("plaintext"))
			if sealed != nil || !errors.Is(err, tt.want) {
				t.Errorf("Seal = %x, %v; want nothing and %v", sealed, err, tt.want)
			}
		})
	}
}

func TestSealTextOfWhatIsNoJSON(t *testing.T) {
	text, err := newRing(t, gate, key1).SealText(record, make(chan int))
	if text != "" || err == nil {
		t.Errorf("SealText = %q, %v; want an error", text, err)
	}
}

func TestOpenLeavesSealedAlone(t *testing.T) {
	r := newRing(t, gate, key1)
	sealed := mustSeal(t, r, record, "clear", "plaintext")
	before := bytes.Clone(sealed)
	clear, plaintext, err := r.Open(record, len("clear"), sealed)
	if err != nil {
		t.Fatal(err)
	}
	refuses(t, r, seal.Binding{}, len("clear"), sealed, seal.ErrUnreadable)
	for i := range plaintext {
		plaintext[i] = 0
	}
	if _ = append(clear, "longer"...); !bytes.Equal(plaintext, make([]byte, len(plaintext))) {
		t.Errorf("appending to clear changed plaintext to %x", plaintext)
	}
	clear[0] = 0
	if !bytes.Equal(sealed, before) {
		t.Errorf("sealed is %x now, was %x", sealed, before)
	}
}

func TestManyMayUseARingAtOnce(t *testing.T) {
	r := newRing(t, gate, key1)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			b := seal.Binding{Purpose: "session", Name: fmt.Sprint(i)}
			for range 100 {
				sealed, err := r.Seal(b, []byte("clear"), []byte(b.Name))
				if err != nil {
					t.Error(err)
					return
				}
				opens(t, r, b, sealed, "clear", b.Name)
			}
		})
	}
	wg.Wait()
}

func TestTheRingShowsNoKey(t *testing.T) {
	r := newRing(t, gate, bytes.Repeat([]byte("K"), seal.KeyLen))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, value := range []any{r, *r} {
			if got := fmt.Sprintf(verb, value); got != "REDACTED" {
				t.Errorf("%s of %T prints %s", verb, value, got)
			}
		}
		silent(t, verb+" of a struct", fmt.Sprintf(verb, struct{ ring seal.Ring }{*r}))
	}
	text, err := json.Marshal(map[string]any{"ring": r, "copy": *r})
	if want := `{"copy":"REDACTED","ring":"REDACTED"}`; err != nil || string(text) != want {
		t.Errorf("as JSON it is %s, %v; want %s", text, err, want)
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("", "ring", r)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("", "ring", *r)
	silent(t, "slog", log.String())
	if got := strings.Count(log.String(), "REDACTED"); got != 2 {
		t.Errorf("slog prints %s", log.String())
	}
}

// silent fails when printed shows the key, whose bytes are all the letter K, as text, in
// hexadecimal or as numbers.
func silent(t *testing.T, what, printed string) {
	t.Helper()
	for _, shown := range []string{"KKK", "4b4b4b", "75 75 75", "0x4b, 0x4b", "S0tL"} {
		if strings.Contains(printed, shown) {
			t.Errorf("%s prints the key: %s", what, printed)
		}
	}
}

// FuzzOpen checks that Open refuses, with one of its three errors, every value that Seal did not
// make.
func FuzzOpen(f *testing.F) {
	valid := unhex(f, golden)
	f.Add(valid, 5)
	f.Add(valid, 0)
	f.Add(valid[:len(valid)-1], 5)
	f.Add([]byte{}, -1)
	f.Add([]byte{2}, 1<<62)
	f.Fuzz(func(t *testing.T, sealed []byte, clearLen int) {
		clear, plaintext, err := newRing(t, gate, key1).Open(record, clearLen, sealed)
		switch err {
		case seal.ErrUnknownKey, seal.ErrNewerVersion, seal.ErrUnreadable:
			if clear != nil || plaintext != nil {
				t.Errorf("Open(%x, %d) refuses with %v and still gives %q, %q", sealed, clearLen, err, clear, plaintext)
			}
		case nil:
			if !bytes.Equal(sealed, valid) || clearLen != 5 {
				t.Errorf("Open(%x, %d) opens what nobody sealed: %q, %q", sealed, clearLen, clear, plaintext)
			}
		default:
			t.Errorf("Open(%x, %d) = %v, which is none of its errors", sealed, clearLen, err)
		}
	})
}

// A session record is some 530 bytes long.
const benchClear, benchPlaintext = 16, 530 - 16 - seal.Overhead

func benchBinding() seal.Binding {
	return seal.Binding{Purpose: "session", Name: strings.Repeat("n", 43), Secret: strings.Repeat("s", 43)}
}

func BenchmarkOpen(b *testing.B) {
	r := newRing(b, gate, key1)
	binding := benchBinding()
	sealed := mustSeal(b, r, binding, strings.Repeat("c", benchClear), strings.Repeat("p", benchPlaintext))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := r.Open(binding, benchClear, sealed); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	r := newRing(b, gate, key1)
	binding := benchBinding()
	clear, plaintext := make([]byte, benchClear), make([]byte, benchPlaintext)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Seal(binding, clear, plaintext); err != nil {
			b.Fatal(err)
		}
	}
}
