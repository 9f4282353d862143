package config_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/policy/yamlfile"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with a file, or writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatalf("%v; run with -update to write it", err)
	}
	if got != string(want) {
		t.Errorf("differs from %s; if that is right, run with -update\ngot:\n%s\nwant:\n%s", name, got, want)
	}
}

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

// parse reads a file of testdata as if it were in /etc/callq, so that the result is the
// same on every machine.
func parse(t *testing.T, file string) (*config.Config, error) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return config.Parse("/etc/callq/"+filepath.Base(file), data, config.Source{})
}

// isMistake reports whether err is a mistake in the configuration, as all errors of
// the package are.
func isMistake(err error) bool {
	var one *yamlfile.Error
	return errors.As(err, &one)
}

func TestValidFilesLoadAsInTheirGoldenFiles(t *testing.T) {
	files, _ := filepath.Glob("testdata/working_*.yaml")
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			cfg, err := parse(t, file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.MarshalIndent(cfg, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".json", string(got)+"\n")
		})
	}
}

func TestInvalidFilesAreRefusedAsInTheirGoldenFiles(t *testing.T) {
	files, _ := filepath.Glob("testdata/busted_*.yaml")
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			_, err := parse(t, file)
			if err == nil {
				t.Fatal("the file loads")
			}
			var one *yamlfile.Error
			if !errors.As(err, &one) || one.Line < 1 || one.Column < 1 {
				t.Errorf("a mistake has no position: %v", err)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("a secret is shown: %v", err)
			}
			said := strings.NewReplacer("/etc/callq/", "", strings.Join(policy.Presets(), ", "), "PRESETS").Replace(err.Error())
			golden(t, strings.TrimSuffix(file, ".yaml")+".txt", said+"\n")
		})
	}
}

func TestWithoutAFileTheDefaultsApply(t *testing.T) {
	t.Chdir(t.TempDir())
	cfg, err := config.Load(config.Source{})
	if err != nil {
		t.Fatal(err)
	}
	url, err := cfg.RedisURL()
	if err != nil {
		t.Fatal(err)
	}
	if url != "embedded:" || cfg.WorkerConcurrency != 64 || cfg.Admin.Listen != "127.0.0.1:8080" || cfg.Admin.Configured || len(cfg.Upstreams) != 0 {
		t.Errorf("got %+v", cfg)
	}
	if filepath.Base(cfg.Path) != "callq.yaml" || !filepath.IsAbs(cfg.Path) {
		t.Errorf("path %q", cfg.Path)
	}
}

func TestANamedFileThatIsMissingIsAnError(t *testing.T) {
	t.Chdir(t.TempDir())
	for want, src := range map[string]config.Source{
		"nowhere.yaml: there is no such file; correct --config, or write the file":     {Path: "nowhere.yaml"},
		"nowhere.yaml: there is no such file; correct CALLQ_CONFIG, or write the file": {Env: env("CALLQ_CONFIG", "nowhere.yaml")},
	} {
		_, err := config.Load(src)
		if err == nil || err.Error() != want || !isMistake(err) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestAFolderCannotBeReadAsAFile(t *testing.T) {
	_, err := config.Load(config.Source{Path: t.TempDir()})
	if !isMistake(err) || !strings.Contains(err.Error(), "cannot be read: is a directory") {
		t.Error(err)
	}
}

func TestFlagsOverrideTheEnvironmentWhichOverridesTheFile(t *testing.T) {
	const file = `
redis: redis://file
worker: {concurrency: 1}
admin: {listen: "127.0.0.1:1"}
`
	environment := env("CALLQ_REDIS", "redis://env", "CALLQ_WORKER_CONCURRENCY", "2", "CALLQ_ADMIN_LISTEN", "127.0.0.1:2")
	for name, tc := range map[string]struct {
		file   string
		src    config.Source
		redis  string
		n      int
		listen string
		from   string
	}{
		"default": {"", config.Source{}, "embedded:", 64, "127.0.0.1:8080", ""},
		"file":    {file, config.Source{}, "redis://file", 1, "127.0.0.1:1", "callq.yaml:4:17"},
		"env":     {file, config.Source{Env: environment}, "redis://env", 2, "127.0.0.1:2", "CALLQ_ADMIN_LISTEN"},
		"flag": {file, config.Source{
			Env:               environment,
			Redis:             config.Flag{Name: "--redis", Value: "redis://flag"},
			WorkerConcurrency: config.Flag{Name: "--concurrency", Value: "3"},
			AdminListen:       config.Flag{Name: "--listen", Value: "127.0.0.1:3"},
		}, "redis://flag", 3, "127.0.0.1:3", "--listen"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := config.Parse("callq.yaml", []byte(tc.file), tc.src)
			if err != nil {
				t.Fatal(err)
			}
			url, err := cfg.RedisURL()
			if err != nil {
				t.Fatal(err)
			}
			if url != tc.redis || cfg.WorkerConcurrency != tc.n || cfg.Admin.Listen != tc.listen || cfg.Admin.Pos.String() != tc.from || cfg.Admin.Configured != (tc.from != "") {
				t.Errorf("got %s, %d, %+v", url, cfg.WorkerConcurrency, cfg.Admin)
			}
		})
	}
}

func TestAWrongOverrideNamesTheFlagOrTheVariable(t *testing.T) {
	for want, src := range map[string]config.Source{
		`--redis: redis is "localhost:6379", which is not a Redis address; write "embedded:", "embed`: {Redis: config.Flag{Name: "--redis", Value: "localhost:6379"}},
		`CALLQ_REDIS: redis is "localhost", which is not a Redis address; write "embedded:", "embed`:  {Env: env("CALLQ_REDIS", "localhost")},
		`CALLQ_REDIS: redis is not a Redis address; write "embedded:"`:                                {Env: env("CALLQ_REDIS", "u:hunter2@localhost")},
		`--redis: redis is not a Redis address; write "embedded:"`:                                    {Redis: config.Flag{Name: "--redis", Value: "h1/m?sentinel_password=hunter2"}},
		`CALLQ_WORKER_CONCURRENCY: "many" is not a number of calls in flight; write a number from 1`:  {Env: env("CALLQ_WORKER_CONCURRENCY", "many")},
		`CALLQ_ADMIN_LISTEN: admin.listen is not an address to listen on; write HOST:PO`:              {Env: env("CALLQ_ADMIN_LISTEN", "8080")},
	} {
		_, err := config.Parse("callq.yaml", nil, src)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestReferencesAreReadOnlyByResolve(t *testing.T) {
	const file = `redis: "${env:REDIS}"
upstreams:
  a:
    base_url: "${env:BASE}"
    policy: http
    auth: {type: bearer, token: "${env:TOKEN}"}
admin: {listen: "${env:LISTEN}", tokens: [{name: x, role: viewer, token: "${env:ADMIN}"}]}
`
	cfg, err := config.Parse("callq.yaml", []byte(file), config.Source{})
	if err != nil {
		t.Fatal(err)
	}
	const unset = "is not set; set it, or correct its name"
	upstreams := "callq.yaml:4:15: upstreams.a.base_url: the environment variable BASE " + unset +
		"\ncallq.yaml:6:33: upstreams.a.auth.token: the environment variable TOKEN " + unset
	admin := "callq.yaml:7:17: admin.listen: the environment variable LISTEN " + unset +
		"\ncallq.yaml:7:74: admin.tokens[0].token: the environment variable ADMIN " + unset
	for want, err := range map[string]error{
		upstreams:                cfg.ResolveUpstreams(),
		admin:                    cfg.ResolveAdmin(),
		upstreams + "\n" + admin: cfg.Resolve(),
	} {
		if err == nil || err.Error() != want {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
	if _, err := cfg.RedisURL(); err == nil || err.Error() != "callq.yaml:1:8: redis: the environment variable REDIS "+unset {
		t.Error(err)
	}

	src := config.Source{Env: env("REDIS", "redis://r", "BASE", "https://a.example", "TOKEN", "t", "LISTEN", ":1", "ADMIN", "a")}
	if cfg, err = config.Parse("callq.yaml", []byte(file), src); err != nil {
		t.Fatal(err)
	}
	if err := cfg.Resolve(); err != nil {
		t.Fatal(err)
	}
	url, err := cfg.RedisURL()
	if err != nil || url != "redis://r" || cfg.Upstream("a").BaseURL != "https://a.example" || cfg.Admin.Listen != ":1" {
		t.Errorf("got %v, %s, %+v", err, url, cfg)
	}
}

func TestTheValueOfAReferenceIsCheckedButNotShown(t *testing.T) {
	const file = `redis: "${env:REDIS}"
upstreams:
  a:
    base_url: "${env:BASE}"
    policy: http
    auth: {type: bearer, token: "${env:TOKEN}"}
`
	src := config.Source{Env: env("REDIS", "hunter2", "BASE", "https://u:hunter2@a.example", "TOKEN", "hunter2\nX: y")}
	cfg, err := config.Parse("callq.yaml", []byte(file), src)
	if err != nil {
		t.Fatal(err)
	}
	_, redis := cfg.RedisURL()
	got := errors.Join(cfg.Resolve(), redis).Error()
	golden(t, "testdata/resolve.txt", got+"\n")
	if strings.Contains(got, "hunter2") {
		t.Errorf("a secret is shown: %s", got)
	}
}

func TestAnOverriddenListenAddressIsNotResolved(t *testing.T) {
	cfg, err := config.Parse("callq.yaml", []byte(`admin: {listen: "${env:LISTEN}"}`), config.Source{Env: env("CALLQ_ADMIN_LISTEN", ":9")})
	if err != nil {
		t.Fatal(err)
	}
	if err := cfg.Resolve(); err != nil || cfg.Admin.Listen != ":9" {
		t.Errorf("%v, listen %q", err, cfg.Admin.Listen)
	}
}

func TestAnUnguardedAdminAddressIsReportedWithAllOtherMistakes(t *testing.T) {
	const tokens, none = ", tokens: [{name: a, role: viewer, token: t}]", ", tokens: []"
	for _, tc := range []struct {
		listen, tokens   string
		serves, reported bool
	}{
		{"0.0.0.0:80", "", true, true},
		{"0.0.0.0:80", none, true, true},
		{":80", "", true, true},
		{"[::]:80", "", true, true},
		{"192.0.2.1:80", "", true, true},
		{"0.0.0.0:80", "", false, false},
		{"0.0.0.0:80", tokens, true, false},
		{"0.0.0.0:80", ", tokens: [{nam: a}]", true, false}, // the mistake is in the token
		{"127.0.0.1:80", "", true, false},
		{"[::1]:80", "", true, false},
		{"localhost:80", "", true, false},
		{"some.host:80", "", true, false}, // known only after listening
		{"${env:LISTEN}", "", true, false},
		{"0.0.0.0", "", true, false}, // not an address
	} {
		file := fmt.Sprintf("redis: nothing\nadmin: {listen: %q%s}", tc.listen, tc.tokens)
		_, err := config.Parse("callq.yaml", []byte(file), config.Source{ServesAdmin: tc.serves})
		if err == nil || !strings.Contains(err.Error(), "callq.yaml:1:8: ") {
			t.Errorf("%s: the other mistake is missing: %v", file, err)
		}
		if reported := err != nil && strings.Contains(err.Error(), "callq.yaml:2:17: the admin address "+tc.listen+" can be reached"); reported != tc.reported {
			t.Errorf("%s: got reported %v: %v", file, reported, err)
		}
	}
	src := config.Source{ServesAdmin: true, AdminListen: config.Flag{Name: "--listen", Value: ":80"}}
	if _, err := config.Parse("callq.yaml", nil, src); err == nil || !strings.HasPrefix(err.Error(), "--listen: the admin address :80 can") {
		t.Errorf("got %v", err)
	}
}

func TestACostIsReadInMillionths(t *testing.T) {
	cfg, err := config.Parse("callq.yaml", []byte("upstreams: {a: {base_url: https://a.example, policy: http, cost: {per_call: 1}}}"), config.Source{})
	if err != nil || cfg.Upstreams[0].Cost.PerCallMicros != 1_000_000 {
		t.Errorf("%v, %+v", err, cfg)
	}
}

// FuzzParse proves that no file, however hostile, makes the reader crash or hang, and
// that every mistake has a position.
func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.yaml")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("? {a: b}\n: c"))
	f.Add([]byte("upstreams: {a: {auth: {type: bearer, token: \"${env:\"}}}"))
	f.Add([]byte("\xff\xfe"))
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := config.Parse("callq.yaml", data, config.Source{})
		if err == nil && cfg != nil {
			return
		}
		var all yamlfile.Errors
		if !errors.As(err, &all) || len(all) == 0 {
			t.Fatalf("%T is not a list of errors: %v", err, err)
		}
		for _, one := range all {
			if one.Line < 1 || one.Column < 1 || one.Message == "" {
				t.Errorf("a mistake has no position or message: %#v", one)
			}
		}
	})
}
