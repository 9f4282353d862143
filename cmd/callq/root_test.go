package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
)

func TestAMistakeInTheConfigurationIsShownWithItsPlace(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("callq.yaml", []byte("worker: {concurency: 3}\nredis: embedded\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	a := &app{stderr: &errs, env: func(string) string { return "" }}
	_, err := a.config(config.Flag{}, config.Flag{})
	a.report(err)
	want := `callq.yaml:1:10: unknown key "concurency" in worker; did you mean "concurrency"?
callq.yaml:2:8: redis is "embedded", which is no address of a Redis; write "embedded:", "embedded:///DIR", redis://HOST:PORT/DB, rediss://…, unix:///PATH, redis-sentinel://… or redis-cluster://…
`
	if statusOf(err) != exitUsage || errs.String() != want {
		t.Errorf("status %d:\n%s", statusOf(err), errs.String())
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
