package page

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/tasks/redislua"
	"github.com/seed-2903acc3/callq/worker/batchreport"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/history"
	"github.com/seed-2903acc3/callq/worker/overview"
)

// site is the pages over a Redis.
type site struct {
	*testing.T
	rdb    *redis.Client
	client *tasks.Client
	mux    *http.ServeMux
	pages  *Pages
	may    bool
}

func newSite(t *testing.T, rdb *redis.Client) *site {
	t.Helper()
	client, err := tasks.NewClient(rdb, tasks.ClientConfig{
		Explain: policy.ExplainClass, Endpoint: func(_, method, path string) string { return method + " " + path },
	})
	if err != nil {
		t.Fatal(err)
	}
	reader, err := overview.NewReader(overview.Config{Redis: rdb, Upstreams: []overview.ConfiguredUpstream{{Name: "api", Concurrency: 4, Limits: []string{"100/day"}}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	s := &site{T: t, rdb: rdb, client: client, mux: http.NewServeMux(), may: true}
	s.pages = New(ctx, Config{
		Overview: reader, Client: client, Circuits: circuit.NewStore(rdb, "test"), Causes: batchreport.NewFollower(rdb),
		Who: func(context.Context) string { return "ann" }, MayChange: func(context.Context) bool { return s.may },
	})
	for _, route := range s.pages.Routes() {
		s.mux.Handle(route.Method+" "+route.Pattern, route.Handler)
	}
	return s
}

// send puts calls into a batch and returns their ids.
func (s *site) send(batch string, keys ...string) (ids []string) {
	s.Helper()
	p, err := tasks.NewProducer(s.rdb, tasks.ProducerConfig{})
	if err != nil {
		s.Fatal(err)
	}
	for _, key := range keys {
		receipt, err := p.Submit(s.Context(), tasks.Call{Batch: batch, Key: key, Upstream: "api", Path: "/x/" + url.PathEscape(key)})
		if err != nil {
			s.Fatal(err)
		}
		ids = append(ids, receipt.ID)
	}
	return ids
}

// kill ends the first waiting calls as dead letters.
func (s *site) kill(n int, e ledger.Ending) {
	s.Helper()
	d := ledger.NewDispatcher(s.rdb, "")
	for range n {
		got, err := d.Dequeue(s.Context(), ledger.DequeueRequest{Queues: []string{"api"}, LeaseUntil: time.Now().Add(time.Minute).Unix(), Turn: time.Minute})
		if err != nil || got.Delivery == nil {
			s.Fatalf("no call to end: %v", err)
		}
		e.FinishedAt = time.Now()
		f := ledger.Final{State: ledger.Dead, Ending: e, Group: ledger.Group{Class: e.Class, Code: e.Code, Endpoint: e.Endpoint, Message: e.UserMessage, Advice: e.Advice}}
		a := &ledger.Attempt{At: time.Now(), N: 1, Action: "dead_letter", Class: e.Class, Code: e.Code, Status: 418, Message: "<teapot>", CorrelationID: e.CorrelationID}
		if _, _, err := d.End(s.Context(), got.Delivery, f, a); err != nil {
			s.Fatal(err)
		}
		// What asynq does when a task is archived.
		s.rdb.LRem(s.Context(), redislua.Asynq("api", "active"), 1, got.Delivery.ID)
		s.rdb.ZRem(s.Context(), redislua.Asynq("api", "lease"), got.Delivery.ID)
		s.rdb.ZAdd(s.Context(), redislua.Asynq("api", "archived"), redis.Z{Score: float64(time.Now().Unix()), Member: got.Delivery.ID})
	}
}

func (s *site) get(path string) (int, string) {
	s.Helper()
	w := httptest.NewRecorder()
	s.mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func (s *site) post(path string, form url.Values) (int, string, http.Header) {
	s.Helper()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	s.mux.ServeHTTP(w, r)
	return w.Code, w.Body.String(), w.Header()
}

// shows fails the test unless the page has all texts.
func (s *site) shows(path string, texts ...string) string {
	s.Helper()
	code, body := s.get(path)
	if code != http.StatusOK {
		s.Errorf("%s: status %d\n%s", path, code, body)
	}
	for _, text := range texts {
		if !strings.Contains(body, text) {
			s.Errorf("%s does not show %q\n%s", path, text, body)
		}
	}
	return body
}

var teapot = ledger.Ending{
	Class: "bad_parameter", Code: "418", Endpoint: "GET /x/*", Message: "<b>I am a teapot</b>", UserMessage: "It cannot brew.", Advice: "Use a kettle.",
	Attempts: 1, CorrelationID: "corr-1",
}

func TestEveryPageShowsItsSubject(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		s := newSite(t, rdb)
		ids := s.send("night run", "a b", "two", "three")
		s.kill(1, teapot)
		group := tasks.DeadGroupName("bad_parameter", "418", "GET /x/*")
		s.shows("/", "Calls wait", "no worker is running", "night run", "100/day", "It cannot brew.", "Use a kettle.", group)
		s.shows("/batches", "night run", `href="/batches/night%20run"`)
		s.shows("/batches/night%20run", "Accepted", "&lt;b&gt;I am a teapot&lt;/b&gt;", "a b", "Why calls failed", `href="/dead/`+group)
		s.shows("/dead", "1", group)
		s.shows("/dead/"+group, "It cannot brew.", "Redrive…", "&lt;teapot&gt;", "HTTP 418", "a b")
		s.shows("/dead/"+group+"/redrive", "dry run", "1 call of", "nothing has changed yet")
		s.shows("/calls/"+ids[0], "a b", "Failed for good: dead letter", "Redrive this call", "corr-1", "/x/a%20b")
		s.shows("/calls/"+ids[1], "Cancel this call", "it waits, or is being made")
		s.shows("/search?q=nothing", "Nothing has the key")
		s.shows("/search", "Give a call")
		for _, path := range []string{"/batches/none", "/dead/00000000", "/calls/none"} {
			if code, body := s.get(path); code != http.StatusNotFound || !strings.Contains(body, "There ") {
				t.Errorf("%s: %d\n%s", path, code, body)
			}
		}
	})
}

func TestAGroupWithManyDeadLettersIsListedInParts(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		s := newSite(t, rdb)
		var keys []string
		for i := range 60 {
			keys = append(keys, fmt.Sprintf("key-%02d", i))
		}
		s.send("b", keys...)
		s.kill(60, ledger.Ending{Class: "unknown", Code: "9", Message: "no"})
		groups, err := s.client.DeadGroups(t.Context())
		if err != nil || len(groups) != 1 {
			t.Fatal(groups, err)
		}
		group := "/dead/" + groups[0].Name
		part := s.shows(group, "The latest 20", group+"?after=", "key-59")
		if strings.Contains(part, "key-00") {
			t.Error("the latest have the oldest one too")
		}
		part = s.shows(group+"?after=", "the oldest first", "key-00", "key-49", "The next ones")
		_, rest, _ := strings.Cut(part, group+"?after=")
		position, _, _ := strings.Cut(rest, `"`)
		if part = s.shows(group+"?after="+position, "key-50", "key-59"); strings.Contains(part, "key-49") || strings.Contains(part, "The next ones") {
			t.Errorf("the last part: %s", part)
		}
		if code, body := s.get(group + "?after=nowhere"); code != http.StatusNotFound || !strings.Contains(body, "Go back to the group") {
			t.Errorf("a position that is none: %d %s", code, body)
		}
	})
}

func TestASearchFindsACallByItsIDAndByItsKey(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		s := newSite(t, rdb)
		ids := s.send("one", "k1", "k2")
		s.send("two", "k2")
		for text, want := range map[string]string{ids[0]: "/calls/" + ids[0], "k1": "/calls/" + ids[0]} {
			w := httptest.NewRecorder()
			s.mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/search?q="+text, nil))
			if got := w.Header().Get("Location"); w.Code != http.StatusSeeOther || got != want {
				t.Errorf("search for %s: %d to %q, want %q", text, w.Code, got, want)
			}
		}
		r := history.NewRecorder(rdb)
		r.AddID("api", "corr-9", ids[1])
		if err := r.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		s.mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/search?q=corr-9", nil))
		if got := w.Header().Get("Location"); got != "/calls/"+ids[1] {
			t.Errorf("search for a correlation id: %d to %q", w.Code, got)
		}
		s.shows("/search?q=k2", "in one", "in two")
		s.shows("/search?q=two", `href="/batches/two"`)
	})
}

func TestAGroupIsRedrivenInTheBackgroundAndThePageSaysHowFar(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		s := newSite(t, rdb)
		s.send("b", "1", "2", "3")
		s.kill(3, teapot)
		group := tasks.DeadGroupName("bad_parameter", "418", "GET /x/*")
		if code, body, _ := s.post("/dead/"+group+"/redrive", url.Values{"rate": {"fast"}}); code != http.StatusConflict || !strings.Contains(body, "must be a number") {
			t.Errorf("a wrong rate: %d\n%s", code, body)
		}
		code, _, header := s.post("/dead/"+group+"/redrive", url.Values{"rate": {"1000"}})
		if code != http.StatusSeeOther || header.Get("Location") != "/dead/"+group {
			t.Fatalf("%d to %s", code, header.Get("Location"))
		}
		s.eventually(func() bool {
			b, err := s.client.Batch(t.Context(), "b")
			return err == nil && b.Counts.Open == 3 && !s.pages.redrives.of(group).Ended.IsZero()
		})
		s.shows("/dead/"+group, "Redriven: 3 calls")
	})
}

func TestCallsThatMayHaveTakenEffectAreRedrivenOnlyWithATick(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		s := newSite(t, rdb)
		s.send("b", "1")
		s.kill(1, ledger.Ending{Class: doubtful, Endpoint: "POST /x"})
		group := tasks.DeadGroupName(doubtful, "", "POST /x")
		s.shows("/dead/"+group+"/redrive", "may have taken effect")
		if code, body, _ := s.post("/dead/"+group+"/redrive", nil); code != http.StatusConflict || !strings.Contains(body, "Tick the box") {
			t.Errorf("without the tick: %d\n%s", code, body)
		}
		if code, _, _ := s.post("/dead/"+group+"/redrive", url.Values{"sure": {"yes"}}); code != http.StatusSeeOther {
			t.Errorf("with the tick: %d", code)
		}
		s.eventually(func() bool { r := s.pages.redrives.of(group); return r != nil && !r.Ended.IsZero() })
	})
}

func TestChangesAreMadeAndCarryWhoMadeThem(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		s := newSite(t, rdb)
		ids := s.send("b", "1", "2")
		s.kill(1, teapot)
		if code, _, _ := s.post("/calls/"+ids[0]+"/redrive", nil); code != http.StatusSeeOther {
			t.Errorf("redrive: %d", code)
		}
		if code, body, _ := s.post("/calls/"+ids[0]+"/redrive", nil); code != http.StatusConflict || !strings.Contains(body, "open already") {
			t.Errorf("a second redrive: %d\n%s", code, body)
		}
		if code, _, _ := s.post("/calls/"+ids[1]+"/cancel", nil); code != http.StatusSeeOther {
			t.Errorf("cancel: %d", code)
		}
		info, err := s.client.Call(t.Context(), ids[1])
		if err != nil || info.Result.State != tasks.StateCancelled || !strings.Contains(info.Result.ErrorMessage, "ann") {
			t.Errorf("the cancelled call: %+v, %v", info.Result, err)
		}
		store := circuit.NewStore(rdb, "test")
		if err := store.Open(t.Context(), circuit.Name{Upstream: "api"}, time.Hour, "lunch", "bob"); err != nil {
			t.Fatal(err)
		}
		s.shows("/", "The account is paused", "lunch", "by bob", "Let calls start again")
		if code, _, _ := s.post("/circuits/close", url.Values{"name": {"api"}}); code != http.StatusConflict {
			t.Errorf("close without a reason: %d", code)
		}
		if code, _, _ := s.post("/circuits/close", url.Values{"name": {"api"}, "reason": {"lunch is over"}}); code != http.StatusSeeOther {
			t.Errorf("close: %d", code)
		}
		r, err := store.Get(t.Context(), circuit.Name{Upstream: "api"})
		if err != nil || r.State != circuit.Closed || r.Who != "ann" || r.Note != "lunch is over" {
			t.Errorf("the circuit: %+v, %v", r, err)
		}
	})
}

func TestWhoMayNotChangeAnythingSeesNoButtons(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		s := newSite(t, rdb)
		s.may = false
		ids := s.send("b", "1", "2")
		s.kill(1, teapot)
		group := tasks.DeadGroupName("bad_parameter", "418", "GET /x/*")
		for _, path := range []string{"/", "/dead/" + group, "/dead/" + group + "/redrive", "/calls/" + ids[0], "/calls/" + ids[1]} {
			if body := s.shows(path); strings.Contains(body, "<button") || strings.Contains(body, `class="button"`) {
				t.Errorf("%s has a button\n%s", path, body)
			}
		}
	})
}

func TestAStreamSendsThePageAndThenItsChanges(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		s := newSite(t, rdb)
		server := httptest.NewServer(s.mux)
		defer server.Close()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/batches", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", "text/event-stream")
		transport := &http.Transport{}
		defer transport.CloseIdleConnections()
		answer, err := (&http.Client{Transport: transport}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		read := readUntil(answer.Body, "No calls yet", "</main>")
		if read != nil {
			t.Fatal(read)
		}
		s.send("fresh", "1")
		if err := readUntil(answer.Body, "event: main", "fresh"); err != nil {
			t.Fatal(err)
		}
	})
}

// readUntil reads until all texts have come, in their order.
func readUntil(r io.Reader, texts ...string) error {
	var got strings.Builder
	buffer := make([]byte, 4096)
	for {
		rest := got.String()
		found := true
		for _, text := range texts {
			_, after, ok := strings.Cut(rest, text)
			if !ok {
				found = false
				break
			}
			rest = after
		}
		if found {
			return nil
		}
		n, err := r.Read(buffer)
		got.Write(buffer[:n])
		if err != nil {
			return errors.Join(fmt.Errorf("%q did not come; got %q", texts, got.String()), err)
		}
	}
}

func (s *site) eventually(is func() bool) {
	s.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.Fatal("it did not happen within 10 seconds")
		}
	}
}
