package admin

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

// configOn is a door on a Redis, open to this machine.
func configOn(t testing.TB, rdb redis.UniversalClient) Config {
	t.Helper()
	client, err := tasks.NewClient(rdb, tasks.ClientConfig{
		Explain:  policy.ExplainClass,
		Endpoint: func(_, method, path string) string { return method + " " + path },
	})
	if err != nil {
		t.Fatal(err)
	}
	return Config{
		Redis: rdb, Ledger: ledger.New(rdb), Circuits: circuit.NewStore(rdb, "test"), Client: client,
		Upstreams: []string{"sim"}, Loopback: true,
	}
}

func mini(t *testing.T) (Config, *miniredis.Miniredis) {
	t.Helper()
	client, server := redistest.Mini(t)
	return configOn(t, client), server
}

// ask sends a request as a program on this machine does; change may alter it.
func ask(t *testing.T, cfg Config, method, path string, change func(*http.Request)) (int, string, http.Header) {
	t.Helper()
	h, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(method, "http://127.0.0.1:8080"+path, nil)
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	body, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(body), w.Header()
}

func TestEveryRouteAnswersOnLoopback(t *testing.T) {
	cfg, _ := mini(t)
	for path, want := range map[string]int{
		"/healthz": 200, "/readyz": 200, "/": 200, "/asynqmon/": 200, "/asynqmon/api/queues": 200, "/asynqmon/queues/sim": 200,
		"/asynqmon": 307, "/nothing": 404, "/asynqmon/../healthz": 307, "/asynqmon//api/queues": 307,
	} {
		if got, body, _ := ask(t, cfg, "GET", path, nil); got != want {
			t.Errorf("%s: %d, want %d: %.200s", path, got, want, body)
		}
	}
}

func TestAWrongClockIsNotReadyAndSaysSo(t *testing.T) {
	cfg, server := mini(t)
	server.SetTime(time.Now().Add(10 * time.Minute))
	got, body, _ := ask(t, cfg, "GET", "/readyz", nil)
	if got != http.StatusServiceUnavailable || !strings.Contains(body, "this machine's clock and that of Redis are ") {
		t.Errorf("readyz with a clock that is wrong: %d %s", got, body)
	}
}

func TestReadinessIsRedissHealthIsNot(t *testing.T) {
	cfg, server := mini(t)
	server.SetError("ERR out of order")
	if got, body, _ := ask(t, cfg, "GET", "/readyz", nil); got != http.StatusServiceUnavailable {
		t.Errorf("readyz without Redis: %d %s", got, body)
	}
	if got, _, _ := ask(t, cfg, "GET", "/healthz", nil); got != http.StatusOK {
		t.Errorf("healthz without Redis: %d", got)
	}
	if got, body, _ := ask(t, cfg, "GET", "/", nil); got != http.StatusServiceUnavailable || strings.Contains(body, "order") {
		t.Errorf("the page without Redis: %d %s", got, body)
	}
}

func TestOtherAddressesAskForAToken(t *testing.T) {
	cfg, _ := mini(t)
	cfg.Loopback = false
	if _, err := New(cfg); err == nil {
		t.Fatal("an open door to other machines was made")
	}
	value := "first"
	cfg.Tokens = []Token{
		{Name: "broken", Read: func() (string, error) { return "x", errors.New("no such file") }},
		{Name: "empty", Read: func() (string, error) { return "", nil }},
		{Name: "ops", Read: func() (string, error) { return value, nil }},
		{Name: "another", Read: func() (string, error) { return "another", nil }},
	}
	with := func(header string) func(*http.Request) {
		return func(r *http.Request) {
			r.Host = "callq.internal"
			if header != "" {
				r.Header.Set("Authorization", header)
			}
		}
	}
	for _, path := range []string{"/", "/asynqmon/", "/asynqmon/api/queues", "/nothing", "/asynqmon"} {
		for _, header := range []string{"", "Bearer ", "Bearer", "Bearer wrong", "Bearer x", "Basic first", "first"} {
			if got, _, h := ask(t, cfg, "GET", path, with(header)); got != http.StatusUnauthorized || h.Get("WWW-Authenticate") == "" {
				t.Errorf("%s with %q: %d", path, header, got)
			}
		}
		for _, token := range []string{"first", "another"} {
			if got, _, _ := ask(t, cfg, "GET", path, with("Bearer "+token)); got == http.StatusUnauthorized {
				t.Errorf("%s with the token %s: %d", path, token, got)
			}
		}
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if got, _, _ := ask(t, cfg, "GET", path, with("")); got != http.StatusOK {
			t.Errorf("%s: %d", path, got)
		}
	}
	value = "second"
	if got, _, _ := ask(t, cfg, "GET", "/", with("Bearer first")); got != http.StatusUnauthorized {
		t.Errorf("a token that was changed still opens: %d", got)
	}
	if got, body, _ := ask(t, cfg, "POST", "/asynqmon/api/queues/sim:pause", with("Bearer second")); got != http.StatusMethodNotAllowed {
		t.Errorf("with tokens the dashboard changes things: %d %s", got, body)
	}
}

func TestConfiguredTokensAreAskedForOnLoopbackToo(t *testing.T) {
	cfg, _ := mini(t)
	cfg.Tokens = []Token{{Name: "ops", Read: func() (string, error) { return "secret", nil }}}
	for _, path := range []string{"/", "/asynqmon/", "/asynqmon/api/queues"} {
		if got, _, _ := ask(t, cfg, "GET", path, nil); got != http.StatusUnauthorized {
			t.Errorf("%s without a token: %d", path, got)
		}
		with := func(r *http.Request) { r.Header.Set("Authorization", "Bearer secret") }
		if got, _, _ := ask(t, cfg, "GET", path, with); got != http.StatusOK {
			t.Errorf("%s with the token: %d", path, got)
		}
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if got, _, _ := ask(t, cfg, "GET", path, nil); got != http.StatusOK {
			t.Errorf("%s without a token: %d", path, got)
		}
	}
}

func TestAPageOfAnotherSiteGetsNothing(t *testing.T) {
	cfg, _ := mini(t)
	for host, want := range map[string]int{
		"localhost:8080": 200, "127.0.0.1": 200, "[::1]:8080": 200, "127.1.2.3:80": 200,
		"evil.test": 403, "127.0.0.1.evil.test": 403, "localhost.evil.test:8080": 403, "": 403, "10.0.0.1": 403,
	} {
		if got, _, _ := ask(t, cfg, "GET", "/", func(r *http.Request) { r.Host = host }); got != want {
			t.Errorf("Host %q: %d, want %d", host, got, want)
		}
		for _, method := range []string{"POST", "DELETE"} {
			got, body, _ := ask(t, cfg, method, "/asynqmon/api/queues/sim:pause", func(r *http.Request) { r.Host = host })
			if refused := got == http.StatusForbidden && strings.Contains(body, "this address is for this machine alone"); refused != (want == 403) {
				t.Errorf("%s for host %q: %d %s", method, host, got, body)
			}
		}
	}
	for name, value := range map[string]string{"Origin": "http://evil.test", "Sec-Fetch-Site": "cross-site"} {
		got, _, _ := ask(t, cfg, "POST", "/asynqmon/api/queues/sim:pause", func(r *http.Request) { r.Header.Set(name, value) })
		if got != http.StatusForbidden {
			t.Errorf("%s %s: %d", name, value, got)
		}
	}
}

func TestThePageShowsBooksAndCircuits(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		cfg := configOn(t, rdb)
		submit(t, cfg, "<b>bold</b>", "k")
		err := cfg.Circuits.Open(t.Context(), circuit.Name{Upstream: "sim"}, 3600e9, "<i>because</i>", "me")
		if err != nil {
			t.Fatal(err)
		}
		_, body, header := ask(t, cfg, "GET", "/", nil)
		for _, want := range []string{"&lt;b&gt;bold", "open for 1h0m0s", "&lt;i&gt;because", "/asynqmon/", "/readyz"} {
			if !strings.Contains(body, want) {
				t.Errorf("%q is not on the page:\n%s", want, body)
			}
		}
		if strings.Contains(body, "<script") || !strings.Contains(header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Error("the page could run scripts")
		}
	})
}

func TestTheDashboardsPageRunsUnderItsPolicy(t *testing.T) {
	cfg, _ := mini(t)
	_, body, header := ask(t, cfg, "GET", "/asynqmon/", nil)
	csp := header.Get("Content-Security-Policy")
	scripts := inlineScript.FindAllString(body, -1)
	if len(scripts) == 0 || strings.Count(csp, "'sha256-") != len(scripts) {
		t.Errorf("%d inline scripts, policy %s", len(scripts), csp)
	}
	if strings.Contains(csp, "fonts.googleapis.com") {
		t.Error("the policy lets another site in")
	}
}

func submit(t *testing.T, cfg Config, batch, key string) tasks.Receipt {
	t.Helper()
	producer, err := tasks.NewProducer(cfg.Redis, tasks.ProducerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := producer.Submit(t.Context(), tasks.Call{Batch: batch, Key: key, Upstream: "sim", Path: "/x"})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func books(t *testing.T, cfg Config, batch string) ledger.Counts {
	t.Helper()
	b, err := cfg.Ledger.Batch(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	if !b.Counts.Balanced() {
		t.Errorf("the books do not balance: %+v", b.Counts)
	}
	return b.Counts
}

func TestTheDashboardShowsOurPayload(t *testing.T) {
	cfg, _ := mini(t)
	submit(t, cfg, "b", "row-1")
	_, body, _ := ask(t, cfg, "GET", "/asynqmon/api/queues/sim/pending_tasks", nil)
	// asynqmon's own formatter takes what has several lines for binary.
	if !strings.Contains(body, `GET /x`) || !strings.Contains(body, `\n  \"key\": \"row-1\"`) {
		t.Errorf("got %s", body)
	}
}

func TestDeletingInTheDashboardIsACancelInTheBooks(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		cfg := configOn(t, rdb)
		one, two := submit(t, cfg, "b", "1"), submit(t, cfg, "b", "2")
		three := submit(t, cfg, "b", "3")
		root := "/asynqmon/api/queues/sim/pending_tasks"
		if got, body, _ := ask(t, cfg, "DELETE", root+"/"+one.ID, nil); got != http.StatusNoContent {
			t.Errorf("delete: %d %s", got, body)
		}
		if got, body, _ := ask(t, cfg, "POST", root+"/"+two.ID+":archive", nil); got != http.StatusNoContent {
			t.Errorf("archive: %d %s", got, body)
		}
		got, body, _ := ask(t, cfg, "POST", root+":batch_delete", func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader(`{"task_ids":["` + three.ID + `","unknown"]}`))
		})
		var many struct {
			Deleted []string `json:"deleted_ids"`
			Failed  []string `json:"failed_ids"`
		}
		if err := json.Unmarshal([]byte(body), &many); err != nil || got != 200 || len(many.Deleted) != 1 || len(many.Failed) != 1 {
			t.Errorf("batch delete: %d %s %v", got, body, err)
		}
		if c := books(t, cfg, "b"); c.Cancelled != 3 || c.Open != 0 {
			t.Errorf("got %+v", c)
		}
		if got, _, _ := ask(t, cfg, "DELETE", root+"/"+one.ID, nil); got != http.StatusConflict {
			t.Errorf("deleting it again: %d", got)
		}
	})
}

// Wherever an open call waits, what asynq's dashboard does to its task is done to the
// call.
func TestACallIsCancelledFromEveryListOfTheDashboard(t *testing.T) {
	for _, list := range []string{"pending", "scheduled", "retry"} {
		for verb, change := range map[string]struct{ method, suffix string }{
			"delete": {"DELETE", ""}, "archive": {"POST", ":archive"},
		} {
			t.Run(verb+" in "+list, func(t *testing.T) {
				redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
					cfg := configOn(t, rdb)
					r, other := submit(t, cfg, "b", "1"), submit(t, cfg, "b", "2")
					if list != "pending" {
						rdb.LRem(t.Context(), "asynq:{sim}:pending", 0, r.ID)
						rdb.ZAdd(t.Context(), "asynq:{sim}:"+list, redis.Z{Score: 9e9, Member: r.ID})
						rdb.HSet(t.Context(), "asynq:{sim}:t:"+r.ID, "state", list)
					}
					if got, body, _ := ask(t, cfg, change.method, "/asynqmon/api/queues/sim/"+list+"_tasks/"+r.ID+change.suffix, nil); got != http.StatusNoContent {
						t.Fatalf("%d %s", got, body)
					}
					audited(t, cfg, "b", ledger.Counts{Accepted: 2, Open: 1, Cancelled: 1})
					record, err := cfg.Ledger.Find(t.Context(), r.ID)
					if err != nil || record.Ending.Message != "cancelled in asynqmon" {
						t.Errorf("the record says %+v, %v", record.Ending, err)
					}
					if untouched, err := cfg.Ledger.Find(t.Context(), other.ID); err != nil || untouched.State != ledger.Open {
						t.Errorf("the other call is %s, %v", untouched.State, err)
					}
				})
			})
		}
	}
}

func TestDeletingACallThatMayHaveBeenSentSaysThatNobodyKnowsItsOutcome(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		cfg := configOn(t, rdb)
		for key, change := range map[string]func(id string) (int, string, http.Header){
			"deleted": func(id string) (int, string, http.Header) {
				return ask(t, cfg, "DELETE", "/asynqmon/api/queues/sim/pending_tasks/"+id, nil)
			},
			"archived": func(id string) (int, string, http.Header) {
				return ask(t, cfg, "POST", "/asynqmon/api/queues/sim/pending_tasks/"+id+":archive", nil)
			},
			"among others": func(id string) (int, string, http.Header) {
				return ask(t, cfg, "POST", "/asynqmon/api/queues/sim/pending_tasks:batch_delete", func(r *http.Request) {
					r.Body = io.NopCloser(strings.NewReader(`{"task_ids":["` + id + `"]}`))
				})
			},
		} {
			r := submit(t, cfg, "b", key)
			rdb.HSet(t.Context(), "callq:{sim}:c:"+r.ID, "sent", 1)
			if got, body, _ := change(r.ID); got >= 300 {
				t.Errorf("%s: %d %s", key, got, body)
			}
			record, err := cfg.Ledger.Find(t.Context(), r.ID)
			if err != nil || record.State != ledger.Dead || record.Ending.Class != "outcome_unknown" || record.Ending.Endpoint != "GET /x" {
				t.Errorf("%s: it is %s, %+v, %v", key, record.State, record.Ending, err)
			}
		}
		audited(t, cfg, "b", ledger.Counts{Accepted: 3, Dead: 3})
	})
}

// audited says that the books agree, record by record.
func audited(t *testing.T, cfg Config, batch string, want ledger.Counts) {
	t.Helper()
	if got := books(t, cfg, batch); got != want {
		t.Errorf("the books say %+v, want %+v", got, want)
	}
	findings, err := cfg.Ledger.Audit(t.Context(), batch, tasks.TaskID)
	if err != nil || len(findings) != 0 {
		t.Errorf("the books: %+v, %v", findings, err)
	}
}

// dead makes a dead letter whose task is in asynq's archive.
func dead(t *testing.T, cfg Config, key string) tasks.Receipt {
	t.Helper()
	r := submit(t, cfg, "b", key)
	dispatcher := ledger.NewDispatcher(cfg.Redis, "")
	got, err := dispatcher.Dequeue(t.Context(), ledger.DequeueRequest{Queues: []string{"sim"}, LeaseUntil: time.Now().Add(time.Minute).Unix(), Turn: time.Minute})
	if err != nil || got.Delivery == nil || got.Delivery.ID != r.ID {
		t.Fatalf("took %+v, %v", got, err)
	}
	final := ledger.Final{State: ledger.Dead, Ending: ledger.Ending{Class: "unknown"}, Group: ledger.Group{Class: "unknown"}}
	if _, mine, err := dispatcher.End(t.Context(), got.Delivery, final, nil); err != nil || !mine {
		t.Fatal(mine, err)
	}
	pipe := cfg.Redis.TxPipeline()
	pipe.LRem(t.Context(), "asynq:{sim}:active", 0, r.ID)
	pipe.ZRem(t.Context(), "asynq:{sim}:lease", r.ID)
	pipe.ZAdd(t.Context(), "asynq:{sim}:archived", redis.Z{Score: float64(time.Now().Unix()), Member: r.ID})
	pipe.HSet(t.Context(), "asynq:{sim}:t:"+r.ID, "state", "archived")
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRunningADeadLetterOfTheArchiveRedrivesItAndDeletingItLeavesItInTheBooks(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		cfg := configOn(t, rdb)
		one, two, three := dead(t, cfg, "1"), dead(t, cfg, "2"), dead(t, cfg, "3")
		root := "/asynqmon/api/queues/sim/archived_tasks"
		if got, body, _ := ask(t, cfg, "POST", root+"/"+one.ID+":run", nil); got != http.StatusNoContent {
			t.Errorf("run: %d %s", got, body)
		}
		audited(t, cfg, "b", ledger.Counts{Accepted: 3, Open: 1, Dead: 2})
		got, body, _ := ask(t, cfg, "POST", root+":batch_run", func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader(`{"task_ids":["` + two.ID + `","` + one.ID + `"]}`))
		})
		if want := `{"error_ids":["` + one.ID + `"],"pending_ids":["` + two.ID + `"]}` + "\n"; got != http.StatusOK || body != want {
			t.Errorf("batch run: %d %s", got, body)
		}
		audited(t, cfg, "b", ledger.Counts{Accepted: 3, Open: 2, Dead: 1})
		if got, body, _ := ask(t, cfg, "DELETE", root+"/"+three.ID, nil); got != http.StatusNoContent {
			t.Errorf("delete: %d %s", got, body)
		}
		audited(t, cfg, "b", ledger.Counts{Accepted: 3, Open: 2, Dead: 1})
		// The archive is a view: what was deleted from it is redriven all the same.
		if err := cfg.Client.Redrive(t.Context(), three.ID); err != nil {
			t.Error(err)
		}
		audited(t, cfg, "b", ledger.Counts{Accepted: 3, Open: 3})
	})
}

func TestWhatWouldBreakTheBooksIsRefusedWithTheReason(t *testing.T) {
	cfg, _ := mini(t)
	submit(t, cfg, "b", "1")
	for _, c := range []struct{ method, path string }{
		{"DELETE", "sim"}, {"DELETE", "sim/pending_tasks:delete_all"}, {"POST", "sim/retry_tasks:archive_all"},
		{"POST", "sim/active_tasks/x:cancel"}, {"POST", "sim/active_tasks:cancel_all"},
		{"DELETE", "sim/groups/g/aggregating_tasks/x"}, {"POST", "sim/whatever"},
	} {
		if got, body, _ := ask(t, cfg, c.method, "/asynqmon/api/queues/"+c.path, nil); got != http.StatusConflict || len(body) < 10 {
			t.Errorf("%s %s: %d %s", c.method, c.path, got, body)
		}
	}
	if got := books(t, cfg, "b"); got.Open != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestAnOperatorPausesAndResumesAQueue(t *testing.T) {
	cfg, _ := mini(t)
	submit(t, cfg, "b", "1")
	for _, verb := range []string{"pause", "resume"} {
		if got, body, _ := ask(t, cfg, "POST", "/asynqmon/api/queues/sim:"+verb, nil); got != http.StatusNoContent {
			t.Errorf("%s: %d %s", verb, got, body)
		}
	}
}

func TestRunningACancelledCallOfTheArchiveRedrivesIt(t *testing.T) {
	cfg, _ := mini(t)
	r := submit(t, cfg, "b", "1")
	record, err := cfg.Ledger.Find(t.Context(), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := cfg.Ledger.Cancel(t.Context(), record, ledger.Ending{Class: "cancelled"}); err != nil {
		t.Fatal(err)
	}
	if got, body, _ := ask(t, cfg, "POST", "/asynqmon/api/queues/sim/archived_tasks/"+r.ID+":run", nil); got != http.StatusNoContent {
		t.Errorf("run: %d %s", got, body)
	}
	if c := books(t, cfg, "b"); c.Open != 1 || c.Cancelled != 0 {
		t.Errorf("got %+v", c)
	}
}
