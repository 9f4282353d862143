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
	if err := cfg.validate(true); err != nil {
		return nil, err
	}
	base, err := url.Parse(cfg.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("upstream %q: base_url: is no URL", cfg.Name)
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
	// A star needs no encoding for a reader.
	req.URL.RawQuery = strings.ReplaceAll(req.URL.RawQuery, url.QueryEscape(stars), stars)
	return req, nil
}
