package upstream

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Preview returns the request that a client of cfg sends for r, with stars in place of the credential. It looks up no secret and
// sends nothing. The body of the request is r's, whole. An error names a field of cfg, or wraps [ErrRefused].
func Preview(cfg Config, r Request) (*http.Request, error) {
	cfg = cfg.withDefaults()
	cfg.Auth = cfg.Auth.starred()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	base, err := url.Parse(cfg.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("upstream %q: base_url: is no URL", cfg.Name)
	}
	c := &Client{
		cfg: cfg, base: *base, basePath: cleanBasePath(base),
		authHeader: cfg.Auth.header(), authQuery: cfg.Auth.parameters(), additions: newAdditions(cfg),
	}
	p, err := c.prepare(r)
	if err != nil {
		return nil, err
	}
	u := p.url
	req := newRequest(context.Background(), p, &u, p.body)
	c.starred().apply(req.Header, req.URL)
	// A star needs no encoding for a reader.
	req.URL.RawQuery = strings.ReplaceAll(req.URL.RawQuery, url.QueryEscape(stars), stars)
	return req, nil
}

// starred is a with stars for every secret that it refers to.
func (a Auth) starred() Auth {
	for _, s := range []*Secret{&a.Token, &a.Username, &a.Password, &a.Value, &a.ClientID, &a.ClientSecret} {
		if !s.IsZero() {
			*s = StaticSecret(stars)
		}
	}
	query := make(map[string]Secret, len(a.Query))
	for name := range a.Query {
		query[name] = StaticSecret(stars)
	}
	a.Query = query
	return a
}

const stars = "***"

// starred is a credential of the configured kind that gives nothing away.
func (c *Client) starred() credential {
	cred := credential{header: c.authHeader, value: stars}
	switch c.cfg.Auth.Type {
	case AuthBearer, AuthOAuth2:
		cred.value = "Bearer " + stars
	case AuthBasic:
		cred.value = "Basic " + stars
	}
	for _, name := range c.authQuery {
		cred.query = append(cred.query, param{name, stars})
	}
	return cred
}
