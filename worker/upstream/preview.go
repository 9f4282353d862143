package upstream

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Preview returns the request that a client with cfg sends for r, with stars in place of
// the credential. It reads no secret and sends nothing. The request has the complete body
// of r. An error names a field of cfg, or wraps [ErrRefused].
func Preview(cfg Config, r Request) (*http.Request, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(true); err != nil {
		return nil, err
	}
	base, err := url.Parse(cfg.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("upstream %q: base_url: is not a URL", cfg.Name)
	}
	c := &Client{
		cfg: cfg, base: *base, basePath: cleanBasePath(base),
		authHeaders: cfg.Auth.Headers(), authQuery: cfg.Auth.Parameters(), additions: newAdditions(cfg),
	}
	p, err := c.prepare(r)
	if err != nil {
		return nil, err
	}
	u := p.url
	req := newRequest(context.Background(), p, &u, p.body)
	cfg.Auth.kind().preview().apply(req.Header, req.URL)
	// Show the stars without percent-encoding.
	req.URL.RawQuery = strings.ReplaceAll(req.URL.RawQuery, url.QueryEscape(stars), stars)
	return req, nil
}
