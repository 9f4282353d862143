package upstream

import (
	"net/http"
	"slices"

	"github.com/seed-2903acc3/callq/worker/redact"
)

// Auth is how an upstream is told who calls. Make one with [Bearer], [Basic], [Header],
// [Query] or [OAuth2]; the zero value sends no credential. Printing or logging it shows
// no secret. An Auth never changes and may be used by many goroutines.
type Auth struct{ scheme scheme }

// scheme is one kind of credential. Each has a file of its own, auth_KIND.go: another
// kind is another such file.
type scheme interface {
	// validate reports what is wrong. need asks for a secret that must be there.
	validate(fault faultFunc, need func(field string, s Secret))
	// headers and parameters name where the credential is sent, in their order. A call
	// that sets one of them is refused.
	headers() []string
	parameters() []string
	// secrets are all that the credential is made of, in an order that never changes.
	secrets() []Secret
	// preview is the credential with stars in place of what is secret.
	preview() credential
	// authorizer returns what finds the credential for each request.
	authorizer(use authUse) authorizer
}

// faultFunc reports what is wrong with a field of a [Config].
type faultFunc func(field, format string, args ...any)

// authUse is what an authorizer may use of its client.
type authUse struct {
	cfg Config
	// secrets learns the credential.
	secrets *redact.Redactor
	// transport makes connections that no call stands in the way of.
	transport func() *http.Transport
}

// kind is the scheme; that of the zero value sends nothing.
func (a Auth) kind() scheme {
	if a.scheme == nil {
		return noAuth{}
	}
	return a.scheme
}

// Headers names the headers that carry the credential. A call may not set them.
func (a Auth) Headers() []string { return a.kind().headers() }

// Parameters names the query parameters that carry the credential. A call may not set
// them.
func (a Auth) Parameters() []string { return slices.Clone(a.kind().parameters()) }

// TokenURL is where the credential's tokens come from; empty for all but [OAuth2].
func (a Auth) TokenURL() string {
	if o, ok := a.scheme.(oauth2Scheme); ok {
		return o.TokenURL
	}
	return ""
}

// String names no secret.
func (Auth) String() string { return redacted }

// GoString names no secret.
func (Auth) GoString() string { return redacted }

// MarshalText names no secret.
func (Auth) MarshalText() ([]byte, error) { return []byte(redacted), nil }

const stars = "***"

// noAuth sends no credential.
type noAuth struct{}

func (noAuth) validate(faultFunc, func(string, Secret)) {}
func (noAuth) headers() []string                        { return nil }
func (noAuth) parameters() []string                     { return nil }
func (noAuth) secrets() []Secret                        { return nil }
func (noAuth) preview() credential                      { return credential{} }

func (noAuth) authorizer(authUse) authorizer {
	return &staticAuth{render: func(bool) (credential, error) { return credential{}, nil }}
}
