package op

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/oidcgate/oidcgate/internal/apart"
)

// fault is why a request brought no usable answer. Its text is always one of ours, because an error
// of net/http quotes the answer that it could not read, and a *url.Error quotes the URL.
type fault struct {
	status     int  // for the browser
	unsent     bool // no connection was made
	answered   bool // an answer came and was refused
	unreadable bool // it had status 200
	tooLong    bool // it had status 200, and more bytes than are taken
	longHeader bool // the server takes no header of the request's length
	alone      bool // by the status: others may get a better answer
	text       string
}

func (f *fault) Error() string { return f.text }

// refused is the fault of an answer that is refused.
func refused(text string) *fault {
	return &fault{status: http.StatusBadGateway, answered: true, text: text}
}

// tooLong is the fault of a good answer with more than is taken.
func tooLong(text string) *fault {
	f := refused(text)
	f.tooLong = true
	return f
}

// unreadable is the fault of an answer that has this status and is refused for what it holds.
func unreadable(status int, text string) *fault {
	f := refused(text)
	f.unreadable = status == http.StatusOK
	return f
}

// statusFault is the fault of an answer with an unexpected status. A provider that says that it is
// overloaded or broken counts as down, as if no answer had come.
func statusFault(status int) *fault {
	f := refused(fmt.Sprintf("the endpoint answers with status %d", status))
	if status >= 500 || status == http.StatusTooManyRequests {
		f.status, f.answered = http.StatusServiceUnavailable, false
	}
	f.alone = f.answered || status == http.StatusInternalServerError
	return f
}

// isNowhere reports whether a status says that there is no endpoint at an address. A server may say
// it in a body of its own.
func isNowhere(status int) bool {
	return status == http.StatusNotFound || status == http.StatusMethodNotAllowed ||
		status == http.StatusGone
}

const hintNowhere = "there is no such endpoint at that address: compare it with the provider's " +
	"manual; it is what the discovery document, a field of Endpoints or OAuth2Options says"

// networkFault is the fault for an error of the transport.
func networkFault(err error) *fault {
	if f, ok := errors.AsType[*fault](err); ok {
		return f
	}
	if p, ok := errors.AsType[*apart.Panic](err); ok { // its value may quote what strangers send
		text := fmt.Sprintf("HTTP.Transport panicked with a %T", p.Value)
		return &fault{status: http.StatusBadGateway, text: text}
	}
	if strings.Contains(err.Error(), "header list larger than peer's") { // of net/http, by HTTP/2
		text := "the server takes no header of that length"
		return &fault{status: http.StatusBadGateway, longHeader: true, text: text}
	}
	if isTimeout(err) {
		return &fault{status: http.StatusGatewayTimeout, text: "no answer in time"}
	}
	if errors.Is(err, context.Canceled) {
		return &fault{status: http.StatusServiceUnavailable, text: "the caller gave up"}
	}
	if text, ok := tlsText(err); ok {
		return &fault{status: http.StatusBadGateway, text: text}
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok && e.IsNotFound {
		return &fault{status: http.StatusServiceUnavailable, text: "the host name does not exist"}
	}
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "dial" {
		text := "cannot connect"
		if why, ok := errors.AsType[syscall.Errno](err); ok {
			text += ": " + why.Error()
		}
		return &fault{status: http.StatusServiceUnavailable, text: text}
	}
	return &fault{status: http.StatusBadGateway, text: "the connection broke"}
}

func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

// tlsText says what is wrong with the provider's TLS, if err is an error of TLS.
func tlsText(err error) (string, bool) {
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "TLS: " + e.Error(), true
	}
	e, ok := errors.AsType[*net.OpError](err)
	if ok && (e.Op == "remote error" || e.Op == "local error") {
		return "TLS: " + e.Err.Error(), true // an alert; its text is one of crypto/tls
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "TLS: the endpoint does not speak TLS", true
	}
	return "", false
}
