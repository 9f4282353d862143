package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

const openWarning = "everybody on this machine can read a file that contains a credential"

// open makes a file one that everybody can read.
func (h *home) open(name string) {
	h.t.Helper()
	if err := os.Chmod(h.file(name), 0o644); err != nil { //nolint:gosec // that is what is to be found
		h.t.Fatal(err)
	}
}

func TestEveryFileWithACredentialIsFound(t *testing.T) {
	const upstream = "upstreams: {a: {base_url: http://127.0.0.1:1, policy: http, auth: %s}}\n"
	for name, c := range map[string]struct {
		text string
		env  string // CALLQ_REDIS
		want []string
	}{
		"none":                      {text: "upstreams: {a: {base_url: http://127.0.0.1:1, policy: http}}\n"},
		"the environment":           {text: fmt.Sprintf(upstream, `{type: bearer, token: "${env:T}"}`)},
		"a token's file":            {text: fmt.Sprintf(upstream, `{type: bearer, token: "${file:token}"}`), want: []string{"token"}},
		"a literal":                 {text: fmt.Sprintf(upstream, `{type: bearer, token: abc}`), want: []string{"callq.yaml"}},
		"a literal beside a file":   {text: fmt.Sprintf(upstream, `{type: basic, username: "${file:user}", password: abc}`), want: []string{"callq.yaml", "user"}},
		"a query of oauth2":         {text: fmt.Sprintf(upstream, `{type: oauth2, token_url: "http://127.0.0.1:1", client_id: "${env:A}", client_secret: "${env:B}", query: {apikey: "${file:apikey}"}}`), want: []string{"apikey"}},
		"the key of a certificate":  {text: "upstreams: {a: {base_url: http://127.0.0.1:1, policy: http, tls: {cert: cert.pem, key: key.pem}}}\n", want: []string{"key.pem"}},
		"a token of the admin":      {text: "admin: {tokens: [{name: a, role: viewer, token: \"${file:admin}\"}]}\n", want: []string{"admin"}},
		"Redis without a password":  {text: "redis: redis://127.0.0.1/0\n"},
		"Redis with a password":     {text: "redis: redis://:abc@127.0.0.1/0\n", want: []string{"callq.yaml"}},
		"Redis's file":              {text: "redis: \"${file:redis}\"\n", want: []string{"redis"}},
		"Redis's key":               {text: "redis: rediss://127.0.0.1/0?cert=/c/cert.pem&key=/c/key.pem\n", want: []string{"/c/key.pem"}},
		"a password of Sentinels":   {text: "redis: redis-sentinel://127.0.0.1/m?sentinel_password=x\n", want: []string{"callq.yaml"}},
		"a password in a variable":  {text: "ledger: {bodies: keep}\n", env: "redis://:abc@127.0.0.1/0"},
		"a key named in a variable": {text: "ledger: {bodies: keep}\n", env: "rediss://127.0.0.1/0?cert=/c/cert.pem&key=/c/key.pem", want: []string{"/c/key.pem"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHome(t, "")
			h.write("redis", "redis://:abc@127.0.0.1/0\n")
			cfg, err := config.Parse(h.file("callq.yaml"), []byte(c.text), config.Source{Env: func(name string) string {
				if name == config.EnvRedis {
					return c.env
				}
				return ""
			}})
			if err != nil {
				t.Fatal(err)
			}
			want := []string{}
			for _, file := range c.want {
				if !filepath.IsAbs(file) {
					file = h.file(file)
				}
				want = append(want, file)
			}
			slices.Sort(want)
			if got := credentialFiles(cfg); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestAWorkerWarnsOnceAboutEachReadableCredentialFile(t *testing.T) {
	t.Parallel()
	h := newHome(t, filepath.Dir(program(t)))
	h.onRedis(t)
	const config = "upstreams: {sim: {base_url: \"http://127.0.0.1:1\", policy: http, auth: {type: bearer, token: \"${file:%s}\"}}}\n"
	h.write("callq.yaml", fmt.Sprintf(config, "open"))
	for _, name := range []string{"open", "closed", "second"} {
		h.write(name, "secret\n")
	}
	h.open("open")
	h.open("second")
	w := startWorker(t, h)
	warned := func(file string) int { return strings.Count(w.said.String(), openWarning+`" file=`+h.file(file)+" ") }
	await(t, "the warning", func() bool { return warned("open") == 1 })
	if !strings.Contains(w.said.String(), "chmod o-rwx "+h.file("open")) {
		t.Errorf("the warning does not say what to do: %s", w.said)
	}
	w.reloads()
	h.write("callq.yaml", fmt.Sprintf(config, "closed"))
	w.reloads()
	h.write("callq.yaml", fmt.Sprintf(config, "second"))
	w.reloads()
	await(t, "the second warning", func() bool { return warned("second") == 1 })
	if warned("open") != 1 || warned("closed") != 0 || strings.Contains(w.said.String(), "secret") {
		t.Errorf("got:\n%s", w.said)
	}
	w.signal(syscall.SIGTERM)
	w.end()
}

func TestARunWarnsOnceAboutAReadableCredentialFile(t *testing.T) {
	t.Parallel()
	eachRedis(t, func(t *testing.T, h *home) {
		_, url := simulate(t, simapi.Config{})
		h.write("callq.yaml", fmt.Sprintf("upstreams: {sim: {base_url: %q, policy: patsnap, auth: {type: basic, username: \"${file:token}\", password: \"${file:token}\"}}}\n", url))
		h.write("token", "secret\n")
		h.write("calls.jsonl", "{\"path\":\"/1\"}\n{\"path\":\"/2\"}\n")
		h.open("token")
		_, errs := h.callq(exitOK, "run", "calls.jsonl", "-o", "out")
		if n := strings.Count(errs, openWarning); n != 1 {
			t.Errorf("got it %d times, want once: %s", n, errs)
		}
		h.write("more.jsonl", "{\"path\":\"/3\"}\n")
		if err := os.Chmod(h.file("token"), 0o640); err != nil { //nolint:gosec // open to the group alone
			t.Fatal(err)
		}
		if _, errs := h.callq(exitOK, "run", "more.jsonl", "-o", "out2"); strings.Contains(errs, openWarning) {
			t.Errorf("the warning is about a closed file: %s", errs)
		}
	})
}
