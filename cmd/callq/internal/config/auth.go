package config

import (
	"errors"
	"maps"
	"slices"

	"github.com/seed-2903acc3/callq/internal/httpsyntax"
	"github.com/seed-2903acc3/callq/policy/yamlfile"
	"github.com/seed-2903acc3/callq/worker/upstream"
)

// AuthType is the kind of a credential.
type AuthType string

// The kinds of credential.
const (
	AuthNone   AuthType = "none"
	AuthBearer AuthType = "bearer"
	AuthBasic  AuthType = "basic"
	AuthHeader AuthType = "header"
	AuthQuery  AuthType = "query"
	AuthOAuth2 AuthType = "oauth2"
)

// Auth is a credential. Which fields are set depends on its type.
type Auth struct {
	// Type is never empty.
	Type AuthType
	// Pos is where the credential is written. It is zero for the default, none.
	Pos yamlfile.Pos
	// Token is for the type bearer.
	Token Secret
	// Username and Password are for the type basic.
	Username, Password Secret
	// Name and Value are those of the header or of the query parameter.
	Name  string
	Value Secret
	// OAuth2 is only set for the type oauth2.
	OAuth2 *OAuth2
}

// OAuth2 is how a worker gets a token with client credentials (RFC 6749, 4.4).
type OAuth2 struct {
	// TokenURL is empty until [Config.Resolve] if it contains a reference.
	TokenURL               string
	ClientID, ClientSecret Secret
	Scopes                 []string
	// Style is how the client authenticates itself.
	Style upstream.AuthStyle
	// TokenField is the field of the answer that contains the token. If it is empty,
	// the usual fields are tried.
	TokenField string
	// Query is added to every call.
	Query []QuerySecret
}

// QuerySecret is a query parameter.
type QuerySecret struct {
	Name  string
	Value Secret
}

var authTypes = []AuthType{AuthNone, AuthBearer, AuthBasic, AuthHeader, AuthQuery, AuthOAuth2}

// authKeys are the required and the optional keys of each type, besides type itself.
var authKeys = map[AuthType]struct{ must, may []string }{
	AuthNone:   {},
	AuthBearer: {must: []string{"token"}},
	AuthBasic:  {must: []string{"username", "password"}},
	AuthHeader: {must: []string{"name", "value"}},
	AuthQuery:  {must: []string{"name", "value"}},
	AuthOAuth2: {
		must: []string{"token_url", "client_id", "client_secret"},
		may:  []string{"scopes", "style", "token_field", "query"},
	},
}

func (d *decoder) auth(e yamlfile.Value) Auth {
	auth := Auth{Type: AuthNone, Pos: e.Pos()}
	oauth := &OAuth2{Style: upstream.StyleBasic}
	at := map[string]yamlfile.Value{}
	decode := d.authFields(&auth, oauth)
	all := yamlfile.Fields{"type": func(e yamlfile.Value) {
		at["type"] = e
		auth.Type, _ = yamlfile.OneOf(e, authTypes...)
	}}
	// All keys are collected before they are read: type says what they mean, and may
	// be the last one.
	for key := range decode {
		all[key] = func(e yamlfile.Value) { at[key] = e }
	}
	g := e.Mapping(all)
	if g.Lacks("type") {
		e.Failf("has no type; write one of %s", yamlfile.Words(authTypes...))
	}
	_, known := at["type"]
	delete(at, "type")
	keys := authKeys[auth.Type]
	known = known && auth.Type != "" // without a valid type, any key may be right
	for _, key := range slices.Sorted(maps.Keys(at)) {
		if known && !slices.Contains(keys.must, key) && !slices.Contains(keys.may, key) {
			at[key].FailKeyf("has no meaning for type %s; remove it, or correct the type", auth.Type)
			continue
		}
		decode[key](at[key])
	}
	for _, key := range keys.must {
		if g.Lacks(key) {
			e.Failf("of type %s has no %s; add it", auth.Type, key)
		}
	}
	if name, ok := at["name"]; ok && auth.Type == AuthHeader && auth.Name != "" {
		d.check(name.Pos(), name.Path(), auth.Name, checkHeaderName)
	}
	if auth.Type == AuthOAuth2 {
		auth.OAuth2 = oauth
	}
	return auth
}

// authFields reads the keys of auth besides its type.
func (d *decoder) authFields(auth *Auth, oauth *OAuth2) yamlfile.Fields {
	secret := func(field *Secret) func(yamlfile.Value) {
		return func(e yamlfile.Value) { *field, _ = d.secret(e, upstreams, checkSecret, nil) }
	}
	return yamlfile.Fields{
		"token":         secret(&auth.Token),
		"username":      secret(&auth.Username),
		"password":      secret(&auth.Password),
		"value":         secret(&auth.Value),
		"client_id":     secret(&oauth.ClientID),
		"client_secret": secret(&oauth.ClientSecret),
		"name":          func(e yamlfile.Value) { auth.Name, _ = d.plain(e) },
		"token_url": func(e yamlfile.Value) {
			d.text(e, upstreams, httpsyntax.CheckURL, func(value string) { oauth.TokenURL = value })
		},
		"scopes": func(e yamlfile.Value) {
			e.List(func(e yamlfile.Value) {
				if scope, ok := d.plain(e); ok {
					oauth.Scopes = append(oauth.Scopes, scope)
				}
			})
		},
		"style": func(e yamlfile.Value) {
			if style, ok := yamlfile.OneOf(e, upstream.StyleBasic, upstream.StyleBody); ok {
				oauth.Style = style
			}
		},
		"token_field": func(e yamlfile.Value) { oauth.TokenField, _ = d.plain(e) },
		"query": func(e yamlfile.Value) {
			e.Each(func(name string, e yamlfile.Value) {
				value, _ := d.secret(e, upstreams, checkSecret, nil)
				oauth.Query = append(oauth.Query, QuerySecret{name, value})
			})
		},
	}
}

// checkSecret checks a part of a credential. Its error must not contain the value.
func checkSecret(value string) error {
	if !httpsyntax.IsPrintable(value, false) {
		return errors.New("contains a line break or another control character; write the value in one line")
	}
	return nil
}

// checkBearer checks a token of the admin address. It must be valid in an Authorization
// header.
func checkBearer(value string) error {
	for _, r := range value {
		if r <= ' ' || r >= 0x7f {
			return errors.New("contains a space, a control character or a letter that is not ASCII; a bearer token cannot")
		}
	}
	return nil
}
