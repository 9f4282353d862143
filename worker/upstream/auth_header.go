package upstream

import "github.com/seed-2903acc3/callq/internal/httpsyntax"

// Header sends a secret in a header of its own, such as X-Api-Key.
func Header(name string, value Secret) Auth { return Auth{headerScheme{name, value}} }

type headerScheme struct {
	name  string
	value Secret
}

func (h headerScheme) validate(report reportFunc, require func(string, Secret)) {
	require("value", h.value)
	if !httpsyntax.IsToken(h.name) {
		report("auth.name", "%q is not a header name", h.name)
	} else if httpsyntax.IsFraming(h.name) {
		report("auth.name", "%s frames the request and cannot carry a credential", h.name)
	}
}

func (h headerScheme) headers() []string   { return []string{h.name} }
func (headerScheme) parameters() []string  { return nil }
func (h headerScheme) secrets() []Secret   { return []Secret{h.value} }
func (h headerScheme) preview() credential { return credential{header: h.name, value: stars} }

func (h headerScheme) authorizer(env authEnv) authorizer {
	value := h.value.reader(env.secrets, h.name)
	return &staticAuth{build: func(fresh bool) (credential, error) {
		v, err := value(fresh)
		if err == nil {
			err = checkHeaderValue(v)
		}
		return credential{header: h.name, value: v}, err
	}}
}
