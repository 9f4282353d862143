package upstream

import (
	"maps"
	"slices"

	"github.com/seed-2903acc3/callq/internal/httpsyntax"
)

// OAuth2 gets bearer tokens by the client credentials grant (RFC 6749, 4.4).
func OAuth2(c OAuth2Config) Auth {
	c.Scopes, c.Query = slices.Clone(c.Scopes), maps.Clone(c.Query)
	if c.Style == "" {
		c.Style = StyleBasic
	}
	return Auth{oauth2Scheme{c}}
}

// OAuth2Config says how [OAuth2] gets its tokens. TokenURL, ClientID and ClientSecret
// are required.
type OAuth2Config struct {
	// TokenURL is the token endpoint, an http or https URL.
	TokenURL string
	// ClientID and ClientSecret authenticate the client to the token endpoint.
	ClientID, ClientSecret Secret
	// Scopes are the requested scopes. Defaults to none.
	Scopes []string
	// Style is how the client sends its id and secret. Defaults to [StyleBasic].
	Style AuthStyle
	// TokenField is the path of the token in the answer of the token endpoint: field
	// names joined by dots. Defaults to access_token or token, at the top or under data.
	TokenField string
	// Query holds parameters that are added to every call, in addition to the token.
	Query map[string]Secret
}

// AuthStyle says how an OAuth 2 client sends its id and secret to the token endpoint
// (RFC 6749, 2.3.1).
type AuthStyle string

// The styles: an Authorization header, or fields of the form. The empty AuthStyle means
// StyleBasic.
const (
	StyleBasic AuthStyle = "basic"
	StyleBody  AuthStyle = "body"
)

type oauth2Scheme struct{ OAuth2Config }

func (o oauth2Scheme) validate(report reportFunc, require func(string, Secret)) {
	require("client_id", o.ClientID)
	require("client_secret", o.ClientSecret)
	if err := httpsyntax.CheckURL(o.TokenURL); err != nil {
		report("auth.token_url", "%w", err)
	}
	if o.Style != StyleBasic && o.Style != StyleBody {
		report("auth.style", "%q is neither basic nor body", o.Style)
	}
	for _, name := range o.parameters() {
		require("query."+name, o.Query[name])
	}
}

func (oauth2Scheme) headers() []string      { return []string{"Authorization"} }
func (o oauth2Scheme) parameters() []string { return slices.Sorted(maps.Keys(o.Query)) }

func (o oauth2Scheme) secrets() []Secret {
	secrets := []Secret{o.ClientID, o.ClientSecret}
	for _, name := range o.parameters() {
		secrets = append(secrets, o.Query[name])
	}
	return secrets
}

func (o oauth2Scheme) preview() credential {
	c := credential{header: "Authorization", value: "Bearer " + stars}
	for _, name := range o.parameters() {
		c.query = append(c.query, param{name, stars})
	}
	return c
}

func (o oauth2Scheme) authorizer(env authEnv) authorizer {
	return newOAuth2Auth(o.OAuth2Config, env.cfg, env.transport(), env.secrets)
}
