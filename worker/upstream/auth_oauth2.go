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
	// ClientID and ClientSecret are what the client shows there.
	ClientID, ClientSecret Secret
	// Scopes are asked for. Defaults to none.
	Scopes []string
	// Style is how the client shows its id and secret. Defaults to [StyleBasic].
	Style AuthStyle
	// TokenField is the path of the token in the token endpoint's answer, its steps
	// joined by dots. Empty: access_token or token, at the top or under data.
	TokenField string
	// Query is added to every call beside the token.
	Query map[string]Secret
}

// AuthStyle says how an OAuth 2 client names itself to the token endpoint
// (RFC 6749, 2.3.1).
type AuthStyle string

// The styles. The empty AuthStyle reads as StyleBasic.
const (
	StyleBasic AuthStyle = "basic"
	StyleBody  AuthStyle = "body"
)

type oauth2Scheme struct{ OAuth2Config }

func (o oauth2Scheme) validate(fault faultFunc, need func(string, Secret)) {
	need("client_id", o.ClientID)
	need("client_secret", o.ClientSecret)
	if err := httpsyntax.CheckURL(o.TokenURL); err != nil {
		fault("auth.token_url", "%w", err)
	}
	if o.Style != StyleBasic && o.Style != StyleBody {
		fault("auth.style", "%q is neither basic nor body", o.Style)
	}
	for _, name := range o.parameters() {
		need("query."+name, o.Query[name])
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

func (o oauth2Scheme) authorizer(use authUse) authorizer {
	return newOAuth2Auth(o.OAuth2Config, use.cfg, use.transport(), use.secrets)
}
