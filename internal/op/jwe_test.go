package op_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidcgate/oidcgate/internal/op"
)

// decrypting gives the client keys.
func decrypting(keys ...op.ClientKey) func(*op.Config) {
	return func(cfg *op.Config) {
		cfg.ClientKeys = func(context.Context) ([]op.ClientKey, error) { return keys, nil }
	}
}

// encryptedFor encrypts a token for the owner of key. more are the outer typ and kid, if any.
func encryptedFor(t testing.TB, key crypto.Signer, alg jose.KeyAlgorithm, raw string, more ...string) string {
	t.Helper()
	header := map[jose.HeaderKey]any{"cty": "JWT"}
	for i, v := range more {
		header[[]jose.HeaderKey{"typ", "kid"}[i]] = v
	}
	return encrypted(t, jose.Recipient{Algorithm: alg, Key: key.Public()}, jose.A128CBC_HS256, header, raw)
}

func encrypted(t testing.TB, to jose.Recipient, enc jose.ContentEncryption, header map[jose.HeaderKey]any, raw string) string {
	t.Helper()
	options := &jose.EncrypterOptions{ExtraHeaders: header}
	if _, ok := header["zip"]; ok {
		options.Compression = jose.DEFLATE
	}
	e, err := jose.NewEncrypter(enc, to, options)
	if err != nil {
		t.Fatal(err)
	}
	jwe, err := e.Encrypt([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	compact, err := jwe.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return compact
}

// rewritten is a token whose header and parts are changed. It does not decrypt any more.
func rewritten(raw string, header map[string]any, parts map[int]string) string {
	all := strings.Split(raw, ".")
	text, err := base64.RawURLEncoding.DecodeString(all[0])
	if err != nil {
		panic(err)
	}
	var members map[string]any
	if err := json.Unmarshal(text, &members); err != nil {
		panic(err)
	}
	all[0] = b64(encode(changed(members, header)))
	for i, part := range parts {
		all[i] = part
	}
	return strings.Join(all, ".")
}

func verifyEncrypted(t *testing.T, raw string, changes ...func(*op.Config)) error {
	t.Helper()
	_, err := newOP().client(changes...).VerifyIDToken(t.Context(), raw, "", op.Expectation{Nonce: nonce})
	return err
}

var encs = []jose.ContentEncryption{
	jose.A128CBC_HS256, jose.A192CBC_HS384, jose.A256CBC_HS512, jose.A128GCM, jose.A192GCM, jose.A256GCM,
}

func TestDecrypt(t *testing.T) {
	ec := map[string]*ecdsa.PrivateKey{"P-256": ecKey(), "P-384": ec384Key(), "P-521": newEC(elliptic.P521())}
	for _, enc := range encs {
		for _, alg := range []jose.KeyAlgorithm{jose.RSA_OAEP, jose.RSA_OAEP_256} {
			t.Run("C071 "+string(alg)+" "+string(enc), func(t *testing.T) {
				raw := encrypted(t, jose.Recipient{Algorithm: alg, Key: otherRSA().Public()}, enc, nil, goodToken())
				wantReason(t, verifyEncrypted(t, raw, decrypting(op.ClientKey{Private: otherRSA(), Algorithm: string(alg)})), "")
			})
		}
		for _, alg := range []jose.KeyAlgorithm{jose.ECDH_ES, jose.ECDH_ES_A128KW, jose.ECDH_ES_A192KW, jose.ECDH_ES_A256KW} {
			for curve, key := range ec {
				t.Run("C071 "+string(alg)+" "+string(enc)+" "+curve, func(t *testing.T) {
					raw := encrypted(t, jose.Recipient{Algorithm: alg, Key: key.Public()}, enc, map[jose.HeaderKey]any{"cty": "jwt"}, goodToken())
					wantReason(t, verifyEncrypted(t, raw, decrypting(op.ClientKey{Private: key, Algorithm: string(alg)})), "")
				})
			}
		}
	}
}

func TestDecryptionKeys(t *testing.T) {
	old := op.ClientKey{Private: ecKey(), ID: "old", Algorithm: "ECDH-ES"}
	next := op.ClientKey{Private: newEC(elliptic.P256()), ID: "new", Algorithm: "ECDH-ES"}
	ofRSA := op.ClientKey{Private: otherRSA(), ID: "rsa", Algorithm: "RSA-OAEP-256"}
	signs := op.ClientKey{Private: ec384Key(), ID: "sig"}
	all := []op.ClientKey{signs, ofRSA, next, old}
	to := func(key op.ClientKey, kid ...string) string {
		return encryptedFor(t, key.Private.(crypto.Signer), jose.KeyAlgorithm(key.Algorithm), goodToken(), append([]string{"JWT"}, kid...)...)
	}
	for _, row := range []struct {
		name, token string
		keys        []op.ClientKey
		reason      string
	}{
		{"the first that fits", to(next), all, ""},
		{"the second that fits, without kid", to(old), all, ""},
		{"named", to(old, "old"), all, ""},
		{"named, of another kind", to(ofRSA, "rsa"), all, ""},
		{"named after its thumbprint", to(old, thumbprint(t, ecKey().Public())), []op.ClientKey{{Private: ecKey(), Algorithm: "ECDH-ES"}}, ""},
		{"with the name of another", to(old, "new"), all, "decryption"},
		{"with the name of a key for another alg", to(old, "rsa"), all, "decryption"},
		{"with the name of a key that signs", to(old, "sig"), all, "decryption"},
		{"with an unknown name", to(old, "older"), all, "decryption"},
		{"that is gone", to(old), []op.ClientKey{next}, "decryption"},
		{"of another alg", to(op.ClientKey{Private: otherRSA(), Algorithm: "RSA-OAEP"}), all, "decryption"},
		{"that signs only", to(old), []op.ClientKey{signs}, "id_token_malformed"},
		{"none", to(old), []op.ClientKey{}, "id_token_malformed"},
	} {
		t.Run("C071 a key "+row.name, func(t *testing.T) {
			e := wantReason(t, verifyEncrypted(t, row.token, decrypting(row.keys...)), row.reason)
			if e != nil && e.Hint == "" {
				t.Error("no hint")
			}
		})
	}
	t.Run("C071 no key was given at all", func(t *testing.T) {
		e := wantReason(t, verifyEncrypted(t, to(old)), "id_token_malformed")
		if !strings.Contains(e.Hint, "id_token_encrypted_response_alg") || !strings.Contains(e.Hint, "ClientKeys") {
			t.Errorf("hint %q", e.Hint)
		}
	})
	t.Run("C071 the function of the keys fails", func(t *testing.T) {
		e := wantReason(t, verifyEncrypted(t, to(old), func(cfg *op.Config) {
			cfg.ClientKeys = func(context.Context) ([]op.ClientKey, error) { return nil, context.DeadlineExceeded }
		}), "client_secret")
		if e.Status != http.StatusServiceUnavailable {
			t.Errorf("status %d", e.Status)
		}
	})
}

func thumbprint(t *testing.T, key crypto.PublicKey) string {
	t.Helper()
	sum, err := (&jose.JSONWebKey{Key: key}).Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}

// What is refused without a look at any key costs nothing: everybody can send it.
func TestEncryptedRefused(t *testing.T) {
	good := encryptedFor(t, ecKey(), "ECDH-ES", goodToken())
	wrapped := encryptedFor(t, ecKey(), "ECDH-ES+A128KW", goodToken())
	ofRSA := encryptedFor(t, otherRSA(), "RSA-OAEP-256", goodToken())
	head := func(name string, v any) string { return rewritten(good, map[string]any{name: v}, nil) }
	epk := func(changes map[string]any) string {
		point := jwk(ecKey().Public(), "")
		delete(point, "use")
		return head("epk", changed(point, changes))
	}
	part := func(raw string, i int, text string) string { return rewritten(raw, nil, map[int]string{i: text}) }
	inside := func(raw string) string { return encryptedFor(t, ecKey(), "ECDH-ES", raw) }
	gcm := encrypted(t, jose.Recipient{Algorithm: jose.ECDH_ES, Key: ecKey().Public()}, jose.A128GCM, nil, goodToken())
	const untouched, malformed = true, "id_token_malformed"
	for _, row := range []struct {
		name, token, reason string
		untouched           bool // no key is asked for
	}{
		{"alg dir", head("alg", "dir"), "alg", untouched},
		{"alg RSA1_5", rewritten(ofRSA, map[string]any{"alg": "RSA1_5"}, nil), "alg", untouched},
		{"alg A128KW", head("alg", "A128KW"), "alg", untouched},
		{"alg A256GCMKW", head("alg", "A256GCMKW"), "alg", untouched},
		{"alg PBES2 with an iteration count of 2^31", rewritten(wrapped, map[string]any{"alg": "PBES2-HS256+A128KW", "p2c": 1 << 31, "p2s": "c2FsdA"}, nil), "alg", untouched},
		{"alg none", head("alg", "none"), "alg", untouched},
		{"alg of a signature", head("alg", "RS256"), "alg", untouched},
		{"alg in small letters", head("alg", "ecdh-es"), "alg", untouched},
		{"alg a list", head("alg", []string{"ECDH-ES"}), "alg", untouched},
		{"no alg", head("alg", nil), "alg", untouched},
		{"enc unknown", head("enc", "A128CBC"), "alg", untouched},
		{"enc none", head("enc", "none"), "alg", untouched},
		{"no enc", head("enc", nil), "alg", untouched},
		{"zip", head("zip", "DEF"), malformed, untouched},
		{"zip of a million zeros", encrypted(t, jose.Recipient{Algorithm: jose.ECDH_ES, Key: ecKey().Public()}, jose.A128GCM,
			map[jose.HeaderKey]any{"zip": "DEF"}, strings.Repeat("0", 1<<20)), malformed, untouched},
		{"crit", head("crit", []string{"exp"}), malformed, untouched},
		{"kid a number", head("kid", 7), malformed, untouched},
		{"cty of JSON", head("cty", "application/json"), "typ", untouched},
		{"cty null", head("cty", null), "typ", untouched},
		{"a header that has a member twice", b64(`{"alg":"dir",`+`"alg":"ECDH-ES","enc":"A128GCM"}`) + good[strings.Index(good, "."):], malformed, untouched},
		{"six parts", good + ".x", malformed, untouched},
		{"four parts", good[:strings.LastIndex(good, ".")], malformed, untouched},
		{"padding", good + "=", malformed, untouched},
		{"a line break", good + "\n", malformed, untouched},
		{"a line break inside", good[:9] + "\n" + good[9:], malformed, untouched},
		{"JSON serialization", `{"protected":"` + strings.Replace(good, ".", `","x":"`, 1) + `"}`, malformed, untouched},
		{"too long", part(good, 3, strings.Repeat("A", 256<<10)), malformed, untouched},
		{"ECDH-ES with an encrypted key", part(good, 1, "AAAA"), malformed, untouched},
		{"an empty encrypted key for AES key wrap", part(wrapped, 1, ""), malformed, untouched},
		{"an empty encrypted key for RSA", part(ofRSA, 1, ""), malformed, untouched},
		{"ECDH-ES+A128KW with a key of eight bytes", part(wrapped, 1, b64("12345678")), "decryption", false},
		{"ECDH-ES+A128KW with a key of one byte", part(wrapped, 1, b64("1")), "decryption", false},
		{"RSA with a key that is too short", part(ofRSA, 1, b64("1")), "decryption", false},
		{"no epk", head("epk", nil), "decryption", false},
		{"epk a string", head("epk", "x"), "decryption", false},
		{"epk not on the curve", epk(map[string]any{"y": b64(strings.Repeat("\x01", 32))}), "decryption", false},
		{"epk at zero", epk(map[string]any{"x": b64(strings.Repeat("\x00", 32)), "y": b64(strings.Repeat("\x00", 32))}), "decryption", false},
		{"epk on another curve", head("epk", withoutUse(jwk(ec384Key().Public(), ""))), "decryption", false},
		{"epk an RSA key", head("epk", withoutUse(jwk(rsaKey().Public(), ""))), "decryption", false},
		{"epk without y", epk(map[string]any{"y": nil}), "decryption", false},
		{"an iv of one byte", part(gcm, 2, b64("1")), "decryption", false},
		{"no iv", part(good, 2, ""), "decryption", false},
		{"no ciphertext", part(good, 3, ""), "decryption", false},
		{"no tag", part(gcm, 4, ""), malformed, untouched},
		{"a tag of one byte", part(good, 4, b64("1")), malformed, untouched},
		{"a tag that begins with the end of the ciphertext", movedToTag(gcm), malformed, untouched},
		{"a long tag that does so", movedToTag(encrypted(t, jose.Recipient{Algorithm: jose.ECDH_ES, Key: ecKey().Public()}, jose.A256CBC_HS512, nil, goodToken())), malformed, untouched},
		{"a changed header", head("typ", "x"), "decryption", false},
		{"for somebody else", encryptedFor(t, newEC(elliptic.P256()), "ECDH-ES", goodToken()), "decryption", false},
		{"claims without a signature inside", inside(encode(identity(nil))), malformed, false},
		{"an encrypted token inside", inside(good), malformed, false},
		{"alg none inside", inside(b64(`{"alg":"none"}`) + "." + b64(encode(identity(nil))) + "."), "alg", false},
		{"signed by another inside", inside(signedBy(otherRSA(), goodHeader, encode(identity(nil)))), "sig", false},
		{"the nonce of another login inside", inside(signed(goodHeader, encode(identity(map[string]any{"nonce": "x"})))), "nonce", false},
		{"an access token inside", inside(signed(`{"alg":"RS256","kid":"k1","typ":"at+jwt"}`, encode(identity(nil)))), "typ", false},
	} {
		t.Run("C071 "+row.name, func(t *testing.T) {
			asked := false
			err := verifyEncrypted(t, row.token, func(cfg *op.Config) {
				cfg.ClientKeys = func(context.Context) ([]op.ClientKey, error) {
					asked = true
					return []op.ClientKey{
						{Private: ecKey(), Algorithm: "ECDH-ES"}, {Private: ecKey(), Algorithm: "ECDH-ES+A128KW"},
						{Private: otherRSA(), Algorithm: "RSA-OAEP-256"},
					}, nil
				}
			})
			wantReason(t, err, row.reason)
			if asked == row.untouched {
				t.Errorf("a key was asked for: %v", asked)
			}
		})
	}
	for _, raw := range []string{good, wrapped, ofRSA} {
		wantReason(t, verifyEncrypted(t, raw, decrypting(
			op.ClientKey{Private: ecKey(), Algorithm: "ECDH-ES"}, op.ClientKey{Private: ecKey(), Algorithm: "ECDH-ES+A128KW"},
			op.ClientKey{Private: otherRSA(), Algorithm: "RSA-OAEP-256"},
		)), "")
	}
}

// movedToTag moves the end of the ciphertext to the tag. Together they are what they were.
func movedToTag(raw string) string {
	parts := strings.Split(raw, ".")
	ciphertext, _ := base64.RawURLEncoding.DecodeString(parts[3])
	tag, _ := base64.RawURLEncoding.DecodeString(parts[4])
	at := len(ciphertext) - 16
	parts[3], parts[4] = b64(string(ciphertext[:at])), b64(string(ciphertext[at:])+string(tag))
	return strings.Join(parts, ".")
}

func withoutUse(key map[string]any) map[string]any {
	return changed(key, map[string]any{"use": nil, "kid": nil})
}

// What is kept of an encrypted ID Token is the signed one: a provider cannot decrypt what is for the
// client.
func TestKeptIDToken(t *testing.T) {
	keys := decrypting(op.ClientKey{Private: ecKey(), Algorithm: "ECDH-ES"})
	inner := goodToken()
	outer := encryptedFor(t, ecKey(), "ECDH-ES", inner)
	o := newOP()
	o.set("token", answerJSON(tokenAnswer(map[string]any{"id_token": outer})))
	result, err := (&login{op: o, query: goodResponse(nil)}).finish(t, o.client(keys))
	wantReason(t, err, "")
	if result.Tokens.IDToken != inner {
		t.Errorf("C071 after a login %q is kept", result.Tokens.IDToken)
	}
	o.forget()
	query := url.Values{"state": {"st"}, "id_token": {outer}, "iss": {issuer}}
	l := &login{op: o, query: query.Encode()}
	result, err = l.finish(t, o.client(keys, func(cfg *op.Config) { cfg.ResponseType = op.TypeIDToken }))
	wantReason(t, err, "")
	if result.Tokens.IDToken != inner {
		t.Errorf("C071 after an implicit login %q is kept", result.Tokens.IDToken)
	}
	_, kept, err := o.client(keys).VerifyRefreshed(t.Context(), outer, "at-1", op.Original{Subject: subject, Nonce: nonce})
	wantReason(t, err, "")
	if kept != inner {
		t.Errorf("C071 after a refresh %q is kept", kept)
	}
}

func TestEncryptedUserinfo(t *testing.T) {
	keys := decrypting(op.ClientKey{Private: ecKey(), Algorithm: "ECDH-ES"})
	agreed := func(cfg *op.Config) { cfg.UserinfoEncrypted = true }
	mustSign := func(cfg *op.Config) { cfg.UserinfoSigned = true }
	jws := signed(goodHeader, encode(signedUserinfo(nil)))
	crypt := func(raw string) http.HandlerFunc { return answerJWT(encryptedFor(t, ecKey(), "ECDH-ES", raw)) }
	bare := answerJWT(encrypted(t, jose.Recipient{Algorithm: jose.ECDH_ES, Key: ecKey().Public()}, jose.A128GCM, nil, encode(userinfo(nil))))
	for _, row := range []struct {
		name    string
		answer  http.HandlerFunc
		changes []func(*op.Config)
		reason  string
	}{
		{"C071 signed and encrypted, as agreed", crypt(jws), []func(*op.Config){agreed, mustSign}, ""},
		{"C071 encrypted only, as agreed", bare, []func(*op.Config){agreed}, ""},
		{"C071 encrypted only, though nothing was agreed", bare, nil, ""},
		{"C078 encrypted only, though signatures were agreed", bare, []func(*op.Config){mustSign}, "userinfo_error"},
		{"C071 signed only, though encryption was agreed", answerJWT(jws), []func(*op.Config){agreed}, "userinfo_error"},
		{"C071 plain, though encryption was agreed", answerJSON(userinfo(nil)), []func(*op.Config){agreed}, "userinfo_error"},
		{"C077 JSON that calls itself a JWT", answerJWT(encode(userinfo(nil))), nil, "userinfo_error"},
		{"C077 for another client", crypt(signed(goodHeader, encode(signedUserinfo(map[string]any{"aud": "other"})))), nil, "userinfo_error"},
		{"C077 signed by another", crypt(signedBy(otherRSA(), goodHeader, encode(signedUserinfo(nil)))), nil, "userinfo_error"},
		{"C075 about another", crypt(signed(goodHeader, encode(signedUserinfo(map[string]any{"sub": "x"})))), nil, "userinfo_sub"},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := newOP()
			o.set("userinfo", row.answer)
			got, err := o.client(append(row.changes, keys, asking(op.UserinfoOptional))...).Userinfo(t.Context(), "at-1", subject)
			if wantReason(t, err, row.reason) == nil && string(got.AppendJSON(nil)) != `{"name":"Jane Doe"}` {
				t.Errorf("claims %s", got.AppendJSON(nil))
			}
		})
	}
}

func TestUserinfoThatGrowsTooMuch(t *testing.T) {
	t.Run("C113 F38 what a user writes makes it grow when it is decompressed: it cannot be read, and no key is missing", func(t *testing.T) {
		long := encode(userinfo(map[string]any{"bio": strings.Repeat("a", 300<<10)}))
		to := jose.Recipient{Algorithm: jose.ECDH_ES, Key: ecKey().Public()}
		o := newOP()
		o.set("userinfo", answerJWT(encrypted(t, to, jose.A128GCM, map[jose.HeaderKey]any{"zip": "DEF"}, long)))
		c := o.client(decrypting(op.ClientKey{Private: ecKey(), Algorithm: "ECDH-ES"}), asking(op.UserinfoOptional), func(cfg *op.Config) {
			cfg.Compressed, cfg.UserinfoEncrypted = true, true
		})
		_, err := c.Userinfo(t.Context(), "at-1", subject)
		if e := wantReason(t, err, "userinfo_error"); !e.TooLong || !e.Unreadable {
			t.Errorf("%+v", e)
		}
	})
}

// Everybody can send encrypted logout tokens and responses. They keep a bounded number of processors
// busy, and do not delay what the provider sends.
func TestDecryptionsOfStrangers(t *testing.T) {
	key := op.ClientKey{Private: ecKey(), ID: "e1", Algorithm: "ECDH-ES"}
	inBubble(t, "C071 C129 all slots are taken", func(t *testing.T) {
		o := newOP()
		c := o.client(decrypting(key), func(cfg *op.Config) { cfg.ResponseMode = "query.jwt" })
		for range cap(c.Decryptions()) {
			c.Decryptions() <- struct{}{}
		}
		token := encryptedFor(t, ecKey(), "ECDH-ES", logoutToken(goodHeader, nil))
		start := time.Now()
		_, err := c.VerifyLogoutToken(t.Context(), token)
		if e := wantReason(t, err, "busy"); e.Status != http.StatusServiceUnavailable || time.Since(start) > 2*time.Second {
			t.Errorf("C129 status %d after %v", e.Status, time.Since(start))
		}
		response := url.Values{"response": {encryptedFor(t, ecKey(), "ECDH-ES", tokenSamples()["authorization response"])}}
		_, err = c.ReadResponse(t.Context(), response.Encode())
		if e := wantReason(t, err, "busy"); e.Status != http.StatusServiceUnavailable || e.Stage != op.StageBefore {
			t.Errorf("C129 status %d at stage %d", e.Status, e.Stage)
		}
		hybrid := o.client(decrypting(key), func(cfg *op.Config) { cfg.ResponseType, cfg.ResponseMode = op.TypeHybrid, "form_post" })
		for range cap(hybrid.Decryptions()) {
			hybrid.Decryptions() <- struct{}{}
		}
		response = url.Values{"state": {"s"}, "code": {"c"}, "id_token": {encryptedFor(t, ecKey(), "ECDH-ES", goodToken())}}
		r, err := hybrid.ReadResponse(t.Context(), response.Encode())
		wantReason(t, err, "")
		_, err = hybrid.Finish(t.Context(), r, op.Expectation{Nonce: nonce, Claim: func(context.Context) error { return nil }})
		if e := wantReason(t, err, "busy"); e.Status != http.StatusServiceUnavailable {
			t.Errorf("C071 status %d", e.Status)
		}
		_, err = c.VerifyIDToken(t.Context(), encryptedFor(t, ecKey(), "ECDH-ES", goodToken()), "", op.Expectation{Nonce: nonce})
		wantReason(t, err, "")
		<-c.Decryptions()
		for range 2 * cap(c.Decryptions()) { // each gives its slot back
			_, err = c.VerifyLogoutToken(t.Context(), token)
			wantReason(t, err, "")
		}
	})
}

func TestCompressedTokens(t *testing.T) {
	deflated := func(plain string) string {
		recipient := jose.Recipient{Algorithm: jose.ECDH_ES, Key: ecKey().Public()}
		e, err := jose.NewEncrypter(jose.A128GCM, recipient, &jose.EncrypterOptions{Compression: jose.DEFLATE})
		if err != nil {
			t.Fatal(err)
		}
		jwe, err := e.Encrypt([]byte(plain))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := jwe.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	allowed := func(cfg *op.Config) { cfg.Compressed = true }
	keys := decrypting(op.ClientKey{Private: ecKey(), Algorithm: "ECDH-ES"})
	for _, row := range []struct {
		name, raw string
		changes   []func(*op.Config)
		reason    string
	}{
		{"where it is agreed on", deflated(goodToken()), []func(*op.Config){keys, allowed}, ""},
		{"where it is not", deflated(goodToken()), []func(*op.Config){keys}, "id_token_malformed"},
		{"a hundred million zeros", deflated(strings.Repeat("0", 100<<20)), []func(*op.Config){keys, allowed}, "decryption"},
	} {
		t.Run("C071 compressed: "+row.name, func(t *testing.T) {
			c := newOP().client(row.changes...)
			_, err := c.VerifyIDToken(t.Context(), row.raw, "", op.Expectation{Nonce: nonce})
			wantReason(t, err, row.reason)
		})
	}
}

func TestEncryptionFaults(t *testing.T) {
	all := func(cfg *op.Config) {
		cfg.IDTokenEncrypted, cfg.UserinfoEncrypted, cfg.ResponseEncrypted = true, true, true
		cfg.ResponseMode = "query.jwt"
	}
	fixed := func(cfg *op.Config) { cfg.FixedKeys = true }
	decrypts := decrypting(op.ClientKey{Private: rsaKey()}, op.ClientKey{Private: ecKey(), Algorithm: "ECDH-ES"})
	fields := []string{"Verification.EncryptedIDTokens", "Verification.EncryptedUserinfo", "Verification.EncryptedResponses"}
	for _, row := range []struct {
		name    string
		changes []func(*op.Config)
		want    []string
	}{
		{"no keys", []func(*op.Config){all}, fields},
		{"a key that signs only", []func(*op.Config){all, fixed, decrypting(op.ClientKey{Private: rsaKey()})}, fields},
		{"a key that decrypts", []func(*op.Config){all, fixed, decrypts}, nil},
		{"a function", []func(*op.Config){all, decrypting()}, nil},
		{"responses that are not signed", []func(*op.Config){all, fixed, decrypts, func(cfg *op.Config) { cfg.ResponseMode = "query" }}, fields[2:]},
	} {
		t.Run("C071 "+row.name, func(t *testing.T) {
			cfg := newOP().config(row.changes...)
			var got []string
			for _, fault := range cfg.Faults() {
				got = append(got, fault.Field)
			}
			if !slices.Equal(got, row.want) {
				t.Errorf("faults %q, want %q", got, row.want)
			}
		})
	}
}

// fuzzKey is the same in every process: workers get their inputs from another, which made the first of
// them.
var fuzzKey = sync.OnceValue(func() *ecdsa.PrivateKey {
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{7}, 32))
	if err != nil {
		panic(err)
	}
	return key
})

// FuzzDecrypt states that an encrypted token passes as it was made and in no other spelling, and
// that nothing of a forged one leads to a panic, whatever its maker chooses: everybody can encrypt
// for the client.
func FuzzDecrypt(f *testing.F) {
	inner := goodToken()
	good := map[string]bool{}
	for alg, key := range map[jose.KeyAlgorithm]crypto.Signer{
		"ECDH-ES": fuzzKey(), "ECDH-ES+A256KW": fuzzKey(), "RSA-OAEP-256": otherRSA(),
	} {
		for _, enc := range []jose.ContentEncryption{jose.A128GCM, jose.A256CBC_HS512} {
			good[encrypted(f, jose.Recipient{Algorithm: alg, Key: key.Public()}, enc, nil, inner)] = true
		}
	}
	for raw := range maps.Keys(good) {
		f.Add(raw)
		f.Add(rewritten(raw, map[string]any{"zip": "DEF"}, nil))
		f.Add(rewritten(raw, map[string]any{"epk": map[string]any{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}}, nil))
		f.Add(rewritten(raw, nil, map[int]string{1: "", 2: "", 3: "", 4: ""}))
	}
	f.Add(inner)
	c := newOP().client(decrypting(
		op.ClientKey{Private: fuzzKey(), Algorithm: "ECDH-ES"}, op.ClientKey{Private: fuzzKey(), Algorithm: "ECDH-ES+A256KW"},
		op.ClientKey{Private: otherRSA(), Algorithm: "RSA-OAEP-256"},
	), func(cfg *op.Config) { cfg.IDTokenEncrypted, cfg.Leeway = true, 24*time.Hour })
	f.Fuzz(func(t *testing.T, raw string) {
		id, err := c.VerifyIDToken(t.Context(), raw, "", op.Expectation{Nonce: nonce})
		if (err == nil) != good[raw] {
			t.Fatalf("VerifyIDToken(%q) = %v, %v", raw, id, err)
		}
		// The text may quote alg and enc of whoever made the token, and nothing from inside.
		if err != nil && (strings.Contains(err.Error(), nonce) || strings.Contains(err.Error(), inner)) {
			t.Errorf("the error prints what is inside: %v", err)
		}
	})
}

// FuzzDecryptParts is FuzzDecrypt with parts that are base64url at once, so that more of them reach the
// decryption.
func FuzzDecryptParts(f *testing.F) {
	good := map[string]bool{}
	for _, raw := range []string{
		encryptedFor(f, fuzzKey(), "ECDH-ES", goodToken()), encryptedFor(f, fuzzKey(), "ECDH-ES+A256KW", goodToken()),
	} {
		good[raw] = true
		var parts [5][]byte
		for i, part := range strings.Split(raw, ".") {
			parts[i], _ = base64.RawURLEncoding.DecodeString(part)
		}
		f.Add(string(parts[0]), parts[1], parts[2], parts[3], parts[4])
	}
	c := newOP().client(decrypting(
		op.ClientKey{Private: fuzzKey(), Algorithm: "ECDH-ES"}, op.ClientKey{Private: fuzzKey(), Algorithm: "ECDH-ES+A256KW"},
	), func(cfg *op.Config) { cfg.Leeway = 24 * time.Hour })
	f.Fuzz(func(t *testing.T, header string, key, iv, ciphertext, tag []byte) {
		raw := strings.Join([]string{b64(header), b64(string(key)), b64(string(iv)), b64(string(ciphertext)), b64(string(tag))}, ".")
		id, err := c.VerifyIDToken(t.Context(), raw, "", op.Expectation{Nonce: nonce})
		if (err == nil) != good[raw] {
			t.Fatalf("VerifyIDToken(%q) = %v, %v", raw, id, err)
		}
	})
}

// FuzzDecryptInside states that of what a stranger encrypts for the client nothing passes but the
// token that the provider signed.
func FuzzDecryptInside(f *testing.F) {
	good := goodToken()
	f.Add(good)
	f.Add(encode(identity(nil)))
	f.Add(b64(`{"alg":"none"}`) + "." + b64(encode(identity(nil))) + ".")
	f.Add(encryptedFor(f, ecKey(), "ECDH-ES", good))
	c := newOP().client(decrypting(op.ClientKey{Private: ecKey(), Algorithm: "ECDH-ES"}),
		func(cfg *op.Config) { cfg.Leeway = 24 * time.Hour })
	f.Fuzz(func(t *testing.T, inside string) {
		raw := encryptedFor(t, ecKey(), "ECDH-ES", inside)
		id, err := c.VerifyIDToken(t.Context(), raw, "", op.Expectation{Nonce: nonce})
		if (err == nil) != (inside == good) {
			t.Fatalf("VerifyIDToken of %q = %v, %v", inside, id, err)
		}
	})
}
