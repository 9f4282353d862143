package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
)

// beside parses a configuration in the folder of a policy file.
func beside(t *testing.T, file, policy string) (*config.Config, error) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "api.yaml"), []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.Parse(filepath.Join(dir, "callq.yaml"), []byte(file), config.Source{})
}

const apiPolicy = `upstream:
  base_url: https://api.example.com
  idempotent: ["GET *", "POST /search/*"]
  idempotency_header: Idempotency-Key
  headers: {X-Version: "2", Accept: text/plain, X-Key: none}
`

func TestAnUpstreamTakesMissingKeysFromItsPolicy(t *testing.T) {
	cfg, err := beside(t, "upstreams:\n  api: {policy: ./api.yaml, auth: {type: header, name: x-key, value: \"${env:K}\"}}\n", apiPolicy)
	if err != nil {
		t.Fatal(err)
	}
	u := cfg.Upstreams[0]
	if u.BaseURL != "https://api.example.com" || !reflect.DeepEqual(u.Idempotent, []string{"GET *", "POST /search/*"}) ||
		u.IdempotencyHeader != "Idempotency-Key" || !reflect.DeepEqual(u.Headers, map[string]string{"X-Version": "2", "Accept": "text/plain"}) {
		t.Errorf("got %+v", u)
	}
	var keys []string
	for _, d := range u.Defaults {
		keys = append(keys, d.Key)
		if !strings.Contains(d.Where, "api.yaml:") {
			t.Errorf("%s: got the place %q", d.Key, d.Where)
		}
	}
	if want := []string{"base_url", "idempotent", "idempotency_header", "headers.Accept", "headers.X-Version"}; !reflect.DeepEqual(keys, want) {
		t.Errorf("got the defaults %q, want %q", keys, want)
	}
}

func TestAnUpstreamOverridesItsPolicy(t *testing.T) {
	cfg, err := beside(t, `upstreams:
  api:
    policy: ./api.yaml
    base_url: https://own.example.com
    idempotent: []
    idempotency_header: X-Own
    headers: {accept: application/json}
`, apiPolicy)
	if err != nil {
		t.Fatal(err)
	}
	u := cfg.Upstreams[0]
	if u.BaseURL != "https://own.example.com" || u.Idempotent == nil || len(u.Idempotent) != 0 || u.IdempotencyHeader != "X-Own" ||
		!reflect.DeepEqual(u.Headers, map[string]string{"accept": "application/json", "X-Version": "2", "X-Key": "none"}) {
		t.Errorf("got %+v", u)
	}
}

func TestAnUpstreamWithoutABaseURLSaysWhetherItsPolicyCouldBeRead(t *testing.T) {
	for policy, want := range map[string]string{
		"version: 1\n": "upstreams.api has no base_url; write the API's URL",
		"rulez: []\n":  "upstreams.api has no base_url, and its policy, which may give one, cannot be read; callq policy lint ./api.yaml says why",
	} {
		if _, err := beside(t, "upstreams:\n  api: {policy: ./api.yaml}\n", policy); err == nil || !strings.Contains(err.Error(), "callq.yaml:2:3: "+want) {
			t.Errorf("got %v", err)
		}
	}
	// A command that uses the policy says what is wrong with it.
	if _, err := beside(t, "upstreams:\n  api: {policy: ./api.yaml, base_url: https://api.example.com}\n", "rulez: []\n"); err != nil {
		t.Errorf("got %v", err)
	}
}
