package worker_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/internal/programtest"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
)

// planted are credentials of all kinds; no part of one may be seen anywhere.
const (
	plantedKey      = "sk-live-9f8e7d6c5b4a3f2e1d"
	plantedPassword = `pa/ss "word" & 1`
	plantedClient   = "cs-0123456789abcdef"
	plantedAccess   = "at-0123456789abcdef"
	plantedRefresh  = "rt-0123456789abcdef"
	plantedID       = "id.0123456789abcdef"
)

// plantEnvironment sets the variables that [TestNoCredentialLeavesTheWorker] reads:
// before all tests, as a parallel test cannot set any.
func plantEnvironment() error {
	return errors.Join(os.Setenv("CALLQ_TEST_KEY", plantedKey), os.Setenv("CALLQ_TEST_PREFIXED", "Bearer "+plantedKey+" "))
}

// echoAPI sends each part of the credential that it gets back, in every way and
// with every kind of answer. It has a token endpoint too.
func echoAPI(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var parts []string
		for _, name := range []string{"Authorization", "X-Key"} {
			for word := range strings.FieldsSeq(r.Header.Get(name)) {
				parts = append(parts, word)
				if plain, err := base64.StdEncoding.DecodeString(word); err == nil {
					_, password, _ := strings.Cut(string(plain), ":")
					parts = append(parts, string(plain), password)
				}
			}
		}
		parts = append(parts, r.URL.Query().Get("apikey"), r.URL.RawQuery)
		text := strings.Join(parts, " | ")
		h := w.Header()
		for _, name := range []string{"X-Correlation-Id", "X-Openapi-Amount", "X-Ratelimit-Note"} {
			h.Set(name, text)
		}
		h.Set("Set-Cookie", "session="+plantedKey)
		envelope := func(status, code int) {
			w.WriteHeader(status)
			json.NewEncoder(w).Encode(map[string]any{"status": code == 0, "error_code": code, "error_msg": text, "data": parts})
		}
		switch r.URL.Path {
		case "/token":
			h.Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"access_token":%q,"refresh_token":%q,"id_token":%q}`, plantedAccess, plantedRefresh, plantedID)
		case "/dropped":
			envelope(http.StatusOK, 68300004)
		case "/dead":
			envelope(http.StatusOK, 67200005)
		case "/retried":
			envelope(http.StatusOK, 68300006)
		case "/text":
			h.Set("Content-Type", "text/plain")
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, text)
		case "/binary":
			h.Set("Content-Type", "application/octet-stream")
			fmt.Fprint(w, "\x00\xff"+text)
		case "/cut":
			h.Set("Content-Length", "100000")
			fmt.Fprint(w, text)
		case "/away":
			h.Set("Location", "http://elsewhere.invalid/?"+r.URL.RawQuery+"&key="+strings.ReplaceAll(r.Header.Get("Authorization"), " ", "+"))
			w.WriteHeader(http.StatusFound)
		default:
			envelope(http.StatusOK, 0)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

type secretArgs struct{}

func (secretArgs) Kind() string { return "secret" }

func TestNoCredentialLeavesTheWorker(t *testing.T) {
	t.Parallel()
	marked := filepath.Join(t.TempDir(), "marked")
	if err := os.WriteFile(marked, []byte("\ufeff"+plantedKey+" \r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	api := echoAPI(t)
	key := worker.EnvSecret("CALLQ_TEST_KEY")
	upstreams := []worker.Upstream{
		{Name: "bearer", Auth: worker.Bearer(key)},
		{Name: "prefixed", Auth: worker.Bearer(worker.EnvSecret("CALLQ_TEST_PREFIXED"))},
		{Name: "marked", Auth: worker.Bearer(worker.FileSecret(marked))},
		{Name: "header", Auth: worker.Header("X-Key", worker.StaticSecret("Token "+plantedKey))},
		{Name: "query", Auth: worker.Query("apikey", worker.StaticSecret(plantedPassword))},
		{Name: "basic", Auth: worker.Basic(worker.StaticSecret("alice"), worker.StaticSecret(plantedPassword))},
		{Name: "oauth2", Auth: worker.OAuth2(worker.OAuth2Config{
			TokenURL: api + "/token", ClientID: worker.StaticSecret("client"), ClientSecret: worker.StaticSecret(plantedClient),
			Query: map[string]worker.Secret{"apikey": key},
		})},
	}
	for i := range upstreams {
		upstreams[i].BaseURL = api
	}
	upstreams = append(upstreams, worker.Upstream{
		Name: "closed", BaseURL: "http://127.0.0.1:1", Auth: worker.Query("apikey", worker.StaticSecret(plantedKey)),
	})
	for _, kind := range []string{"miniredis", "redis"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			log := &programtest.Log{}
			var events sync.Map
			cfg := worker.Config{
				Logger:    slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
				OnAttempt: func(e worker.AttemptResult) { events.Store(fmt.Sprintf("%+v", e), nil) },
				Upstreams: append([]worker.Upstream(nil), upstreams...),
			}
			if kind == "redis" {
				cfg.Redis = redistest.Redis(t).Client
			}
			noCredentialLeaves(t, callqtest.New(t, cfg), log, &events)
		})
	}
}

func noCredentialLeaves(t *testing.T, env *callqtest.Env, log *programtest.Log, events *sync.Map) {
	err := worker.Handle(env.Worker(), "bearer", func(_ context.Context, j *worker.Job[secretArgs]) (string, error) {
		switch j.Key {
		case "panics":
			panic("no luck with " + plantedKey)
		case "fails":
			return "", errors.New("no luck with " + plantedKey)
		}
		return "used " + plantedKey, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := worker.NoteReached(t.Context(), env.Worker(), "closed"); err != nil { // else the call would wait for a person
		t.Fatal(err)
	}
	env.Start()
	var ids []string
	for _, upstream := range []string{"bearer", "prefixed", "marked", "header", "query", "basic", "oauth2", "closed"} {
		for _, path := range []string{"/ok", "/dropped", "/dead", "/retried", "/text", "/binary", "/cut", "/away"} {
			if upstream == "closed" && path != "/ok" {
				continue
			}
			ids = append(ids, env.Submit(tasks.Call{Upstream: upstream, Path: path}).ID)
		}
	}
	for _, key := range []string{"works", "fails", "panics"} {
		r, err := tasks.Enqueue(t.Context(), env.Producer(), secretArgs{}, tasks.Options{Upstream: "bearer", Batch: "jobs", Key: key})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, r.ID)
	}
	var out bytes.Buffer
	for _, id := range ids {
		line, err := tasks.EncodeResult(nil, env.Await(id))
		if err != nil {
			t.Fatal(err)
		}
		out.Write(line)
	}
	env.Stop()
	printed := &bytes.Buffer{}
	events.Range(func(e, _ any) bool {
		fmt.Fprintln(printed, e)
		return true
	})
	for what, text := range map[string]string{"the results": out.String(), "Redis": dump(t, env.Redis()), "the log": log.String(), "the events": printed.String()} {
		for _, planted := range []string{plantedKey, plantedPassword, plantedClient, plantedAccess, plantedRefresh, plantedID} {
			for _, form := range []string{planted, strings.ReplaceAll(planted, `"`, `\"`), strings.ReplaceAll(planted, `"`, `\\\"`), base64.StdEncoding.EncodeToString([]byte("alice:" + planted)), strings.TrimPrefix(planted, "pa/ss ")} {
				if i := strings.Index(text, form); i >= 0 {
					t.Errorf("%s have %s: %.300s", what, form, text[max(0, i-200):])
				}
			}
		}
		if !strings.Contains(text, "[redacted]") {
			t.Errorf("%s hold no mark, so the test proves nothing", what)
		}
	}
}

// dump returns everything that Redis holds.
func dump(t *testing.T, client redis.UniversalClient) string {
	t.Helper()
	ctx := t.Context()
	var b strings.Builder
	for it := client.Scan(ctx, 0, "*", 1000).Iterator(); it.Next(ctx); {
		key := it.Val()
		b.WriteString(key)
		kind, err := client.Type(ctx, key).Result()
		if err != nil {
			t.Fatal(err)
		}
		switch kind {
		case "string":
			fmt.Fprintln(&b, client.Get(ctx, key).Val())
		case "hash":
			fmt.Fprintln(&b, client.HGetAll(ctx, key).Val())
		case "list":
			fmt.Fprintln(&b, client.LRange(ctx, key, 0, -1).Val())
		case "set":
			fmt.Fprintln(&b, client.SMembers(ctx, key).Val())
		case "zset":
			fmt.Fprintln(&b, client.ZRange(ctx, key, 0, -1).Val())
		case "none":
			// It expired, or was deleted, since it was listed: a lease, or the task
			// of a call that a worker had just recorded.
		default:
			t.Fatalf("key %s is a %s", key, kind)
		}
	}
	if b.Len() == 0 {
		t.Fatal("Redis is empty")
	}
	return b.String()
}
