package oidcgatetest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"slices"
	"sync"

	"github.com/go-jose/go-jose/v4"
)

// A signingKey is a private key with its key ID (kid) and its algorithm.
type signingKey struct {
	id        string
	algorithm string
	private   crypto.Signer
}

func (k *signingKey) public() jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.private.Public(), KeyID: k.id, Algorithm: k.algorithm, Use: "sig"}
}

// newSigningKey creates the nth key of a provider, counted from 1.
func newSigningKey(algorithm string, n int) (*signingKey, error) {
	var private crypto.Signer
	var err error
	switch algorithm {
	case "RS256":
		private, err = rsaKeys.at(n)
	case "ES256":
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	default:
		err = fmt.Errorf("oidcgatetest: algorithm %q is neither RS256 nor ES256", algorithm)
	}
	if err != nil {
		return nil, err
	}
	return &signingKey{id: rand.Text(), algorithm: algorithm, private: private}, nil
}

// rsaKeys are the RSA keys of the process. Generating one takes longer than a hundred logins, so
// all providers share them: the nth keys of two providers are the same key with different kids. No
// provider uses key 0; it is for [JWT.SignForeign].
var rsaKeys = rsaKeyRing{keys: make(map[int]*rsa.PrivateKey)}

type rsaKeyRing struct {
	mu   sync.Mutex
	keys map[int]*rsa.PrivateKey
}

func (r *rsaKeyRing) at(n int) (*rsa.PrivateKey, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.keys[n] != nil {
		return r.keys[n], nil
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("oidcgatetest: generating a key: %w", err)
	}
	r.keys[n] = key
	return key, nil
}

// AddKey publishes a new key for the algorithm "RS256" or "ES256", signs with it from now on, and
// returns its kid. Earlier keys stay published until [Provider.RemoveKey]. AddKey panics for any
// other algorithm.
//
// All providers in a process share their RSA keys: the first RSA key of every provider is the same,
// and so is the second. If a test needs two providers with different keys, call AddKey on one of
// them, or use ES256, whose keys are never shared.
func (p *Provider) AddKey(algorithm string) (kid string) {
	kid, err := p.addKey(algorithm)
	if err != nil {
		panic(err)
	}
	return kid
}

func (p *Provider) addKey(algorithm string) (kid string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key, err := newSigningKey(algorithm, len(p.verifiers)+1)
	if err != nil {
		return "", err
	}
	p.keys = append(p.keys, key)
	p.verifiers = append(p.verifiers, key)
	p.signer = key
	return key.id, nil
}

// RotateKeys calls AddKey with the algorithm of the current signing key.
func (p *Provider) RotateKeys() (kid string) {
	return p.AddKey(p.signingKey().algorithm)
}

// RemoveKey removes a key from the published set. If it is the newest key, the provider still signs
// with it.
func (p *Provider) RemoveKey(kid string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = slices.DeleteFunc(p.keys, func(k *signingKey) bool { return k.id == kid })
}

func (p *Provider) signingKey() *signingKey {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.signer
}
