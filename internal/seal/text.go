package seal

import (
	"encoding/base64"
	"encoding/json"
)

// SealText returns v as JSON, sealed, in characters that a cookie or an address may hold.
func (r *Ring) SealText(b Binding, v any) (string, error) {
	plaintext, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	sealed, err := r.Seal(b, nil, plaintext)
	return base64.RawURLEncoding.EncodeToString(sealed), err
}

// OpenText stores in v what was given to SealText with the same b.
func (r *Ring) OpenText(b Binding, text string, v any) error {
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return ErrUnreadable
	}
	_, plaintext, err := r.Open(b, 0, sealed)
	if err != nil {
		return err
	}
	return json.Unmarshal(plaintext, v)
}
