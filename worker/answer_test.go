package worker_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
)

func TestAResultHasTheConfiguredHeadersAndTheAmount(t *testing.T) {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "/jobs/7")
		w.Header().Set("X-Cost", "0.0500")
		io.WriteString(w, `{"mailto":"`+r.URL.Query().Get("mailto")+`","accept":"`+r.Header.Get("Accept")+`"}`)
	}))
	t.Cleanup(api.Close)
	plain, err := policy.Preset("http")
	if err != nil {
		t.Fatal(err)
	}
	cfg := worker.Config{Upstreams: []worker.Upstream{{
		Name: "api", BaseURL: api.URL, Policy: plain, CostHeader: "X-Cost", KeepHeaders: []string{"location", "Link"},
		Headers: map[string]string{"Accept": "application/json"}, Query: map[string]string{"mailto": "a"},
	}}}
	each(t, cfg, func(t *testing.T, env *callqtest.Env) {
		env.Start()
		r := env.Await(env.Submit(tasks.Call{Path: "/a"}).ID)
		want(t, r, tasks.StateDone, policy.ClassOK, 1)
		if r.Amount != "0.0500" || len(r.Headers) != 1 || r.Headers["location"] != "/jobs/7" || string(r.Body) != `{"mailto":"a","accept":"application/json"}` {
			t.Errorf("amount %s, headers %v, body %s", r.Amount, r.Headers, r.Body)
		}
	})
}

func TestTheBytesOfAnAnswerThatCannotBeDecodedAreRecorded(t *testing.T) {
	const broken = "\x1f\x8b\x08\x00not gzip"
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, broken)
	}))
	t.Cleanup(api.Close)
	brief := parse(t, "version: 1\nname: brief\nextends: http\nbackoffs:\n  brief: {floor: 100ms, base: 100ms, cap: 100ms, attempts: 2}\n")
	each(t, worker.Config{Upstreams: []worker.Upstream{{Name: "api", BaseURL: api.URL, Policy: brief}}}, func(t *testing.T, env *callqtest.Env) {
		env.Start()
		for method, class := range map[string]policy.Class{"GET": policy.ClassProtocol, "POST": policy.ClassOutcomeUnknown} {
			r := env.Await(env.Submit(tasks.Call{Method: method, Path: "/a"}).ID)
			var body struct {
				Base64          []byte `json:"base64"`
				ContentType     string `json:"content_type"`
				ContentEncoding string `json:"content_encoding"`
			}
			if err := json.Unmarshal(r.Body, &body); err != nil || string(body.Base64) != broken || body.ContentEncoding != "gzip" || body.ContentType != "application/json" {
				t.Errorf("%s: body %s (%v)", method, r.Body, err)
			}
			if r.State != tasks.StateDead || r.Class != string(class) {
				t.Errorf("%s ended %s, %s", method, r.State, r.Class)
			}
		}
	})
}
