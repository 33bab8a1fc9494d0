package oidcgate

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/oidcgate/oidcgate/internal/seal"
)

const redacted = "REDACTED"

// Keys encrypt what the gate keeps in cookies and in the store. The first key encrypts and every
// key decrypts, so a key is replaced without logging anybody out: deploy the new key everywhere as
// the second, then make it the first, then remove the old one when SessionLifetime has passed. The
// zero value has no key. No printed form of it shows a key.
type Keys struct {
	ring *[][]byte // behind a pointer: fmt does not follow it inside a struct
}

// ParseKeys reads keys separated by commas, each 32 random bytes in base64 (either alphabet, padded
// or not) as "openssl rand -base64 32" writes them. An empty text gives no keys and no error. An
// error names the position of the faulty key and does not show the key.
func ParseKeys(text string) (Keys, error) {
	if strings.TrimSpace(text) == "" {
		return Keys{}, nil
	}
	var ring [][]byte
	for i, field := range strings.Split(text, ",") {
		key, err := seal.ParseKey(strings.TrimSpace(field))
		if err != nil {
			return Keys{}, fmt.Errorf("oidcgate: key %d of %d: %w", i+1, strings.Count(text, ",")+1, err)
		}
		for j := range ring {
			if bytes.Equal(ring[j], key) {
				return Keys{}, fmt.Errorf("oidcgate: key %d is key %d again; give each key once", i+1, j+1)
			}
		}
		ring = append(ring, key)
	}
	return Keys{&ring}, nil
}

func randomKeys() Keys {
	key := make([]byte, seal.KeyLen)
	_, _ = rand.Read(key) // never fails: crypto/rand ends the process instead
	return Keys{&[][]byte{key}}
}

func (k Keys) empty() bool { return k.ring == nil }

// String returns a fingerprint of each key. Replicas with the same keys have the same fingerprints.
func (k Keys) String() string {
	if k.empty() {
		return "no keys"
	}
	prints := make([]string, 0, len(*k.ring))
	for _, key := range *k.ring {
		sum := sha256.Sum256(append([]byte("oidcgate key fingerprint\x00"), key...))
		prints = append(prints, redacted+":"+hex.EncodeToString(sum[:3]))
	}
	return strings.Join(prints, ",")
}

// Format keeps %+v and %#v from printing the fields.
func (k Keys) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, k.String()) }

// MarshalJSON implements [json.Marshaler].
func (k Keys) MarshalJSON() ([]byte, error) { return json.Marshal(k.String()) }

// LogValue implements [slog.LogValuer].
func (k Keys) LogValue() slog.Value { return slog.StringValue(k.String()) }
