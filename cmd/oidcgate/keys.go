package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"

	"github.com/oidcgate/oidcgate/internal/op"
)

const keysHelp = `Prints a new key for SESSION_KEYS: 32 random bytes in base64. To replace a key
without logging anybody out, see the documentation of Keys.

With -signing it prints an ES256 private key as PEM, for ClientKeys and private_key_jwt, and on
standard error the JWK Set to register at the provider, if it does not fetch /auth/jwks itself.
`

func (p process) keys(args []string) int {
	f := p.flags("keys", keysHelp)
	signing := f.Bool("signing", false, "make a key that signs, and its JWK Set")
	if status, over := p.parse(f, args); over {
		return status
	}
	if !*signing {
		_, _ = fmt.Fprintln(p.out, sessionKey())
		return exitOK
	}
	key, set, err := signingKey()
	if err != nil {
		return p.failed("keys", err)
	}
	_, _ = p.out.Write(key)
	_, _ = fmt.Fprintf(p.err, "%s\n", set)
	return exitOK
}

// sessionKey returns a key for SESSION_KEYS.
func sessionKey() string {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails: crypto/rand ends the process instead
	return base64.StdEncoding.EncodeToString(key)
}

// signingKey returns a key as PEM, and the JWK Set of its public half.
func signingKey() (private, public []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	client := op.New(op.Config{ClientKeys: func(context.Context) ([]op.ClientKey, error) {
		return []op.ClientKey{{Private: key}}, nil
	}})
	set, err := client.PublicKeys(context.Background())
	if err != nil {
		return nil, nil, err
	}
	public, err = json.MarshalIndent(json.RawMessage(set), "", "  ")
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), public, err
}
