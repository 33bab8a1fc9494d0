package op

import (
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/weburl"
)

// ProofAlgs are the algorithms of the DPoP proofs that we take.
var ProofAlgs = []string{
	"ES256", "ES384", "ES512", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512",
}

const (
	// maxProof is how long a proof may be, in bytes: it has one key and a few short claims.
	maxProof = 8 << 10

	// proofAge is how long ago a proof may have been made. It is made for one request.
	proofAge = time.Minute
)

// Proof is a DPoP proof whose signature is good. The caller checks its key, and remembers its ID,
// because a proof is good once.
type Proof struct {
	ID         string // jti
	Thumbprint string // of its key
	Expires    time.Time
}

// Proven is what a proof must be for.
type Proven struct {
	Method, URL string // of the request; query and fragment do not count
	AccessToken string
	Leeway      time.Duration // how far the clocks may differ
}

// VerifyProof verifies a DPoP proof in the order of RFC 9449, 4.3. Every failure is an *Error of
// status 401.
func VerifyProof(raw string, want Proven) (*Proof, error) {
	if len(raw) > maxProof {
		return nil, badProof("the proof is too long")
	}
	header, err := headerOf(raw)
	if err != nil {
		return nil, badProof("the proof is no JWT")
	}
	alg, err := checkHeader(header, ProofAlgs)
	if err != nil {
		return nil, badProof("alg is none of those for proofs, or the header asks for an extension")
	}
	if typ, _ := headerType(header); !strings.EqualFold(typ, "dpop+jwt") {
		return nil, badProof("typ is not dpop+jwt")
	}
	v, _ := header.Get("jwk")
	key, ok := parseKey(v, anyUse)
	if !ok || !fits(key, alg) {
		return nil, badProof("jwk is no public key for alg")
	}
	jws, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
	if err != nil {
		return nil, badProof("the proof is no JWS")
	}
	payload, err := jws.Verify(key.Key)
	if err != nil {
		return nil, badProof("the signature is not that of jwk")
	}
	return readProof(payload, key, want)
}

// anyUse lets a key pass whatever its use says: the header of a proof says what it is for.
func anyUse(claims.Object) bool { return true }

func readProof(payload []byte, key jose.JSONWebKey, want Proven) (*Proof, error) {
	doc, err := claims.Parse(payload)
	if err != nil {
		return nil, badProof("the payload is not a strict JSON object")
	}
	sum := sha256.Sum256([]byte(want.AccessToken))
	iat, ok := date(doc, "iat")
	now := time.Now()
	switch id := text(doc, "jti"); {
	case id == "" || len(id) > 255:
		return nil, badProof("jti is empty, no string, or too long")
	case text(doc, "htm") != want.Method:
		return nil, badProof("htm is another method")
	case !sameResource(text(doc, "htu"), want.URL):
		return nil, badProof("htu is another address; the address of this service is made of BaseURL")
	case !ok:
		return nil, badProof("iat is missing, or no number of seconds")
	case iat.After(now.Add(want.Leeway)):
		return nil, badProof(fmt.Sprintf("iat is %s in the future by this machine's clock",
			iat.Sub(now).Round(time.Second)))
	case iat.Before(now.Add(-proofAge - want.Leeway)):
		return nil, badProof(fmt.Sprintf("iat is %s past by this machine's clock",
			now.Sub(iat).Round(time.Second)))
	case !equal(text(doc, "ath"), base64.RawURLEncoding.EncodeToString(sum[:])):
		return nil, badProof("ath is not the hash of the access token")
	}
	thumbprint, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, badProof("the key has no thumbprint")
	}
	return &Proof{
		ID: text(doc, "jti"), Thumbprint: base64.RawURLEncoding.EncodeToString(thumbprint),
		Expires: iat.Add(proofAge + want.Leeway),
	}, nil
}

// sameResource compares the addresses of two requests without query and fragment (RFC 9449, 4.3,
// step 9), and without regard to what scheme and host may be written like (RFC 3986, 6.2.2, 6.2.3).
func sameResource(a, b string) bool {
	first, errA := url.Parse(a)
	second, errB := url.Parse(b)
	if errA != nil || errB != nil || first.User != nil {
		return false
	}
	path := func(u *url.URL) string {
		if u.Path == "" {
			return "/"
		}
		return u.EscapedPath()
	}
	return slices.Equal([]string{weburl.Origin(first), path(first)},
		[]string{weburl.Origin(second), path(second)})
}

func badProof(text string) *Error { return refuseToken(event.ReasonProof, text) }
