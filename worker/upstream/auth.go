package upstream

import (
	"net/http"
	"slices"

	"github.com/seed-2903acc3/callq/worker/redact"
)

// Auth says how a client authenticates to its upstream. Make one with [Bearer], [Basic],
// [Header], [Query] or [OAuth2]; the zero value sends no credential. Printing or logging
// it shows no secret. An Auth is immutable and safe for concurrent use.
type Auth struct{ scheme scheme }

// scheme is one kind of credential. Each kind is implemented in its own file,
// auth_KIND.go. A credential does not depend on the request that it is sent with:
// Client.exchange sets it on each request.
type scheme interface {
	// validate reports each invalid field. It calls require for each secret that must
	// be set.
	validate(report reportFunc, require func(field string, s Secret))
	// headers and parameters name where the credential is sent, in order. A call that
	// sets one of them is refused.
	headers() []string
	parameters() []string
	// secrets returns all secrets of the credential, always in the same order.
	secrets() []Secret
	// preview returns the credential with stars in place of the secrets.
	preview() credential
	// authorizer returns the source of the credential for each request.
	authorizer(env authEnv) authorizer
}

// reportFunc reports an error in a field of a [Config].
type reportFunc func(field, format string, args ...any)

// authEnv is what an authorizer gets from its client.
type authEnv struct {
	cfg Config
	// secrets removes the credential from texts; the authorizer adds it.
	secrets *redact.Redactor
	// transport returns a transport with connections that calls do not use.
	transport func() *http.Transport
}

// kind returns the scheme; the scheme of the zero Auth sends nothing.
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

// TokenURL is the URL of the token endpoint; it is empty for all kinds but [OAuth2].
func (a Auth) TokenURL() string {
	if o, ok := a.scheme.(oauth2Scheme); ok {
		return o.TokenURL
	}
	return ""
}

// String returns "[redacted]".
func (Auth) String() string { return redacted }

// GoString returns "[redacted]".
func (Auth) GoString() string { return redacted }

// MarshalText returns "[redacted]".
func (Auth) MarshalText() ([]byte, error) { return []byte(redacted), nil }

const stars = "***"

// noAuth sends no credential.
type noAuth struct{}

func (noAuth) validate(reportFunc, func(string, Secret)) {}
func (noAuth) headers() []string                         { return nil }
func (noAuth) parameters() []string                      { return nil }
func (noAuth) secrets() []Secret                         { return nil }
func (noAuth) preview() credential                       { return credential{} }

func (noAuth) authorizer(authEnv) authorizer {
	return &staticAuth{build: func(bool) (credential, error) { return credential{}, nil }}
}
