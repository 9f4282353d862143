package upstream

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestEachErrorInAConfigNamesItsField(t *testing.T) {
	junk := filepath.Join(t.TempDir(), "junk.pem")
	if err := os.WriteFile(junk, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	secret := StaticSecret(hidden)
	tests := []struct {
		field  string
		change func(*Config)
	}{
		{"name", func(c *Config) { c.Name = "" }},
		{"base_url", func(c *Config) { c.BaseURL = "" }},
		{"base_url", func(c *Config) { c.BaseURL = "api.example" }},
		{"base_url", func(c *Config) { c.BaseURL = "ftp://api.example" }},
		{"base_url", func(c *Config) { c.BaseURL = "https://" }},
		{"base_url", func(c *Config) { c.BaseURL = "https://u:" + hidden + "@api.example" }},
		{"base_url", func(c *Config) { c.BaseURL = "https://api.example?key=" + hidden }},
		{"base_url", func(c *Config) { c.BaseURL = "https://api.example/#a" }},
		{"base_url", func(c *Config) { c.BaseURL = "https://api.example/a/../b" }},
		{"base_url", func(c *Config) { c.BaseURL = "https://" + hidden + "\x7f" }},
		{"timeout", func(c *Config) { c.Timeout = -time.Second }},
		{"concurrency", func(c *Config) { c.Concurrency = -1 }},
		{"max_body", func(c *Config) { c.MaxBody = -1 }},
		{"max_body", func(c *Config) { c.MaxBody = 1 << 62 }},
		{"idempotency_header", func(c *Config) { c.IdempotencyHeader = "a b" }},
		{"idempotency_header", func(c *Config) { c.IdempotencyHeader = "Host" }},
		{"cost.header", func(c *Config) { c.CostHeader = "a:b" }},
		{"tls", func(c *Config) { c.TLS.Cert = junk }},
		{"tls.ca", func(c *Config) { c.TLS.CA = "no-such-file" }},
		{"tls.ca", func(c *Config) { c.TLS.CA = junk }},
		{"tls.cert", func(c *Config) { c.TLS.Cert, c.TLS.Key = junk, junk }},
		{"auth.token", func(c *Config) { c.Auth = Bearer(Secret{}) }},
		{"auth.token", func(c *Config) { c.Auth = Bearer(EnvSecret("CALLQ_TEST_UNSET")) }},
		{"auth", func(c *Config) { c.Auth = Bearer(StaticSecret(hidden + "\r\nX: y")) }},
		{"auth.username", func(c *Config) { c.Auth = Basic(Secret{}, secret) }},
		{"auth.password", func(c *Config) { c.Auth = Basic(secret, Secret{}) }},
		{"auth.name", func(c *Config) { c.Auth = Header("", secret) }},
		{"auth.name", func(c *Config) { c.Auth = Header("Host", secret) }},
		{"auth.name", func(c *Config) { c.Auth = Query("", secret) }},
		{"auth.value", func(c *Config) { c.Auth = Query("apikey", Secret{}) }},
		{"auth.token_url", func(c *Config) { c.Auth = OAuth2(OAuth2Config{ClientID: secret, ClientSecret: secret}) }},
		{"auth.client_id", func(c *Config) { c.Auth = OAuth2(OAuth2Config{TokenURL: "https://h/t", ClientSecret: secret}) }},
		{"auth.client_secret", func(c *Config) { c.Auth = OAuth2(OAuth2Config{TokenURL: "https://h/t", ClientID: secret}) }},
		{"auth.style", func(c *Config) {
			c.Auth = OAuth2(OAuth2Config{TokenURL: "https://h/t", ClientID: secret, ClientSecret: secret, Style: "post"})
		}},
		{"auth.query.apikey", func(c *Config) {
			c.Auth = OAuth2(OAuth2Config{TokenURL: "https://h/t", ClientID: secret, ClientSecret: secret, Query: map[string]Secret{"apikey": {}}})
		}},
	}
	for _, tt := range tests {
		cfg := Config{Name: "api", BaseURL: "https://api.example"}
		tt.change(&cfg)
		c, err := New(cfg)
		if err == nil {
			c.Close()
			t.Errorf("%s: got no error", tt.field)
			continue
		}
		if !strings.Contains(err.Error(), ": "+tt.field+": ") || strings.Contains(err.Error(), hidden) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", tt.field, err)
		}
	}
	if _, err := New(Config{Timeout: -1}); strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("got %v, want three errors", err)
	}
}

func TestTheZeroConfigHasTheDocumentedDefaults(t *testing.T) {
	c := newClient(t, "https://api.example", func(c *Config) { c.Timeout = 0 })
	if c.cfg.Timeout != 30*time.Second || c.cfg.Concurrency != 16 || c.cfg.MaxBody != 8<<20 || c.cfg.Auth.Headers() != nil {
		t.Errorf("%+v", c.cfg)
	}
	if c.rt.MaxConnsPerHost != 16 || c.rt.MaxIdleConnsPerHost != 16 || c.rt.Proxy == nil {
		t.Error("connections are not sized by the concurrency, or ignore the proxy of the environment")
	}
}
