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

// A signingKey is a private key with the name and algorithm it is published under.
type signingKey struct {
	id        string
	algorithm string
	private   crypto.Signer
}

func (k *signingKey) public() jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.private.Public(), KeyID: k.id, Algorithm: k.algorithm, Use: "sig"}
}

// newSigningKey makes the nth key of a provider.
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

// rsaKeys are the RSA keys of the process. Making one takes longer than a hundred logins,
// so all providers share them: the nth key of one is the nth key of another, under
// another kid. Key 0 belongs to no provider; see [JWT.SignForeign].
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

// AddKey publishes a new key for "RS256" or "ES256", signs with it from now on, and
// returns its kid. The keys before it stay published until [Provider.RemoveKey]. AddKey
// panics when it knows no such algorithm.
//
// The first RSA keys of all providers in a process are the same, and so are the second
// ones. A test in which one provider must not sign for another gives one of them another
// key with AddKey, or uses ES256, whose keys are never shared.
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

// RotateKeys is AddKey with the algorithm that is in use.
func (p *Provider) RotateKeys() (kid string) {
	return p.AddKey(p.signingKey().algorithm)
}

// RemoveKey takes a key out of the published set. The provider goes on signing with it
// if it is the newest one.
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
