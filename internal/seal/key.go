package seal

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// ParseKey reads a key of KeyLen random bytes in base64, either alphabet, padded or not. Its errors
// say what to do and never show the key.
func ParseKey(text string) ([]byte, error) {
	text = strings.TrimRight(strings.NewReplacer("+", "-", "/", "_").Replace(text), "=")
	key, err := base64.RawURLEncoding.Strict().DecodeString(text)
	const cure = "make one with \"openssl rand -base64 32\""
	switch {
	case err != nil:
		return nil, errors.New("is not base64; " + cure)
	case len(key) != KeyLen:
		return nil, fmt.Errorf("has %d bytes in place of %d; %s", len(key), KeyLen, cure)
	case distinctBytes(key) < 8:
		return nil, errors.New("is not random; " + cure)
	}
	return key, nil
}

// distinctBytes finds placeholders: 32 random bytes have fewer than eight different values once in
// 10^30.
func distinctBytes(key []byte) int {
	seen := map[byte]bool{}
	for _, b := range key {
		seen[b] = true
	}
	return len(seen)
}
