package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
)

func TestAMistakeInTheConfigurationIsReportedWithItsPlace(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("callq.yaml", []byte("worker: {concurency: 3}\nredis: embedded\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	a := &app{stderr: &errs, env: func(string) string { return "" }}
	_, err := a.config(config.Flag{}, config.Flag{})
	a.report(err)
	want := `callq.yaml:1:10: unknown key "concurency" in worker; did you mean "concurrency"?
callq.yaml:2:8: redis is "embedded", which is not a Redis address; write "embedded:", "embedded:///DIR", redis://HOST:PORT/DB, rediss://…, unix:///PATH, redis-sentinel://… or redis-cluster://…
`
	if statusOf(err) != exitUsage || errs.String() != want {
		t.Errorf("status %d:\n%s", statusOf(err), errs.String())
	}
}

func TestMistakesFoundAfterReadingTheFileAreReportedAtOnce(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("callq.yaml", []byte(`upstreams:
  a: {base_url: https://a.example, policy: ./none.yaml, auth: {type: bearer, token: "${env:TOKEN}"}}
  b: {base_url: https://b.example, policy: ./none.yaml}
admin: {tokens: [{name: a, role: viewer, token: "${env:ADMIN}"}]}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, errs, status := callq(t, "work")
	for _, want := range []string{
		"callq.yaml:2:85: upstreams.a.auth.token: the environment variable TOKEN", "callq.yaml:2:44: policy: there is no file ", "callq.yaml:3:44: policy: there is no file ",
		"callq.yaml:4:49: admin.tokens[0].token: the environment variable ADMIN",
	} {
		if !strings.Contains(errs, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if status != exitUsage || strings.Count(errs, "\n") != 4 {
		t.Errorf("status %d:\n%s", status, errs)
	}
}

func TestTheRedisFlagOverridesTheFile(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("mine.yaml", []byte("redis: redis://file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a := &app{configPath: "mine.yaml", redis: "redis://flag", env: func(string) string { return "" }}
	cfg, err := a.config(config.Flag{}, config.Flag{})
	if err != nil {
		t.Fatal(err)
	}
	if url, err := cfg.RedisURL(); err != nil || url != "redis://flag" {
		t.Errorf("got %q, %v", url, err)
	}
}
