package admin

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

func TestTheDashboardsPolicyAllowsItsInlineScriptsOnly(t *testing.T) {
	cfg, _ := mini(t)
	_, body, header := ask(t, cfg, "GET", "/asynqmon/", nil)
	csp := header.Get("Content-Security-Policy")
	scripts := inlineScript.FindAllString(body, -1)
	if len(scripts) == 0 || strings.Count(csp, "'sha256-") != len(scripts) {
		t.Errorf("got %d inline scripts and the policy %s, want a hash for each script", len(scripts), csp)
	}
	if strings.Contains(csp, "fonts.googleapis.com") {
		t.Error("the policy allows fonts from another site")
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

func countsOf(t *testing.T, cfg Config, batch string) ledger.Counts {
	t.Helper()
	b, err := cfg.Ledger.Batch(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	if !b.Counts.Balanced() {
		t.Errorf("the ledger does not balance: %+v", b.Counts)
	}
	return b.Counts
}

func TestTheDashboardShowsTheCall(t *testing.T) {
	cfg, _ := mini(t)
	submit(t, cfg, "b", "row-1")
	_, body, _ := ask(t, cfg, "GET", "/asynqmon/api/queues/sim/pending_tasks", nil)
	// asynqmon's own formatter treats a text of several lines as binary.
	if !strings.Contains(body, `GET /x`) || !strings.Contains(body, `\n  \"key\": \"row-1\"`) {
		t.Errorf("got %s", body)
	}
}

func TestDeletingATaskInTheDashboardCancelsTheCall(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		cfg := configOn(t, rdb)
		one, two := submit(t, cfg, "b", "1"), submit(t, cfg, "b", "2")
		three := submit(t, cfg, "b", "3")
		root := "/asynqmon/api/queues/sim/pending_tasks"
		if got, body, _ := ask(t, cfg, "DELETE", root+"/"+one.ID, nil); got != http.StatusNoContent {
			t.Errorf("delete: got %d %s, want 204", got, body)
		}
		if got, body, _ := ask(t, cfg, "POST", root+"/"+two.ID+":archive", nil); got != http.StatusNoContent {
			t.Errorf("archive: got %d %s, want 204", got, body)
		}
		got, body, _ := ask(t, cfg, "POST", root+":batch_delete", func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader(`{"task_ids":["` + three.ID + `","unknown"]}`))
		})
		var many struct {
			Deleted []string `json:"deleted_ids"`
			Failed  []string `json:"failed_ids"`
		}
		if err := json.Unmarshal([]byte(body), &many); err != nil || got != 200 || len(many.Deleted) != 1 || len(many.Failed) != 1 {
			t.Errorf("batch delete: got %d %s, %v, want one deleted and one failed", got, body, err)
		}
		if c := countsOf(t, cfg, "b"); c.Cancelled != 3 || c.Open != 0 {
			t.Errorf("got %+v", c)
		}
		if got, _, _ := ask(t, cfg, "DELETE", root+"/"+one.ID, nil); got != http.StatusConflict {
			t.Errorf("delete it again: got %d, want 409", got)
		}
	})
}

// A change of a task in asynq's dashboard changes its call, whatever list the task is in.
func TestACallCanBeCancelledInEveryListOfTheDashboard(t *testing.T) {
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
						t.Fatalf("got %d %s, want 204", got, body)
					}
					audited(t, cfg, "b", ledger.Counts{Accepted: 2, Open: 1, Cancelled: 1})
					record, err := cfg.Ledger.Find(t.Context(), r.ID)
					if err != nil || record.Ending.Message != "cancelled in asynqmon by this machine" {
						t.Errorf("the record has the ending %+v, %v", record.Ending, err)
					}
					if untouched, err := cfg.Ledger.Find(t.Context(), other.ID); err != nil || untouched.State != ledger.Open {
						t.Errorf("the other call: got %s, %v, want open", untouched.State, err)
					}
				})
			})
		}
	}
}

func TestDeletingACallThatMayHaveBeenSentEndsItAsOutcomeUnknown(t *testing.T) {
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
				t.Errorf("%s: got %d %s, want success", key, got, body)
			}
			record, err := cfg.Ledger.Find(t.Context(), r.ID)
			if err != nil || record.State != ledger.Dead || record.Ending.Class != "outcome_unknown" || record.Ending.Endpoint != "GET /x" {
				t.Errorf("%s: got %s, %+v, %v, want dead as outcome_unknown", key, record.State, record.Ending, err)
			}
		}
		audited(t, cfg, "b", ledger.Counts{Accepted: 3, Dead: 3})
	})
}

// audited checks a batch's counts, and that they agree with its records.
func audited(t *testing.T, cfg Config, batch string, want ledger.Counts) {
	t.Helper()
	if got := countsOf(t, cfg, batch); got != want {
		t.Errorf("counts: got %+v, want %+v", got, want)
	}
	findings, err := cfg.Ledger.Audit(t.Context(), batch, tasks.TaskID)
	if err != nil || len(findings) != 0 {
		t.Errorf("audit: got %+v, %v, want no findings", findings, err)
	}
}

// dead returns a dead letter whose task is in asynq's archive.
func dead(t *testing.T, cfg Config, key string) tasks.Receipt {
	t.Helper()
	r := submit(t, cfg, "b", key)
	dispatcher := ledger.NewDispatcher(cfg.Redis, "")
	got, err := dispatcher.Dequeue(t.Context(), ledger.DequeueRequest{Queues: []string{"sim"}, LeaseUntil: time.Now().Add(time.Minute).Unix(), Turn: time.Minute})
	if err != nil || got.Delivery == nil || got.Delivery.ID != r.ID {
		t.Fatalf("dequeued %+v, %v", got, err)
	}
	final := ledger.Final{State: ledger.Dead, Ending: ledger.Ending{Class: "unknown"}, Group: ledger.Group{Class: "unknown"}}
	if _, applied, err := dispatcher.End(t.Context(), got.Delivery, final, nil); err != nil || !applied {
		t.Fatal(applied, err)
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

func TestRunningADeadLetterOfTheArchiveRedrivesItAndDeletingItDoesNotChangeTheLedger(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		cfg := configOn(t, rdb)
		one, two, three := dead(t, cfg, "1"), dead(t, cfg, "2"), dead(t, cfg, "3")
		root := "/asynqmon/api/queues/sim/archived_tasks"
		if got, body, _ := ask(t, cfg, "POST", root+"/"+one.ID+":run", nil); got != http.StatusNoContent {
			t.Errorf("run: got %d %s, want 204", got, body)
		}
		audited(t, cfg, "b", ledger.Counts{Accepted: 3, Open: 1, Dead: 2})
		got, body, _ := ask(t, cfg, "POST", root+":batch_run", func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader(`{"task_ids":["` + two.ID + `","` + one.ID + `"]}`))
		})
		if want := `{"error_ids":["` + one.ID + `"],"pending_ids":["` + two.ID + `"]}` + "\n"; got != http.StatusOK || body != want {
			t.Errorf("batch run: got %d %s, want %s", got, body, want)
		}
		audited(t, cfg, "b", ledger.Counts{Accepted: 3, Open: 2, Dead: 1})
		if got, body, _ := ask(t, cfg, "DELETE", root+"/"+three.ID, nil); got != http.StatusNoContent {
			t.Errorf("delete: got %d %s, want 204", got, body)
		}
		audited(t, cfg, "b", ledger.Counts{Accepted: 3, Open: 2, Dead: 1})
		// The archive is a view: a call whose task was deleted from it can still be redriven.
		if err := cfg.Client.Redrive(t.Context(), three.ID); err != nil {
			t.Error(err)
		}
		audited(t, cfg, "b", ledger.Counts{Accepted: 3, Open: 3})
	})
}

func TestChangesThatWouldMakeTheLedgerWrongAreRefused(t *testing.T) {
	cfg, _ := mini(t)
	submit(t, cfg, "b", "1")
	for _, c := range []struct{ method, path string }{
		{"DELETE", "sim"}, {"DELETE", "sim/pending_tasks:delete_all"}, {"POST", "sim/retry_tasks:archive_all"},
		{"POST", "sim/active_tasks/x:cancel"}, {"POST", "sim/active_tasks:cancel_all"},
		{"DELETE", "sim/groups/g/aggregating_tasks/x"}, {"POST", "sim/whatever"},
	} {
		if got, body, _ := ask(t, cfg, c.method, "/asynqmon/api/queues/"+c.path, nil); got != http.StatusConflict || len(body) < 10 {
			t.Errorf("%s %s: got %d %s, want 409 with a reason", c.method, c.path, got, body)
		}
	}
	if got := countsOf(t, cfg, "b"); got.Open != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestAnOperatorPausesAndResumesAQueue(t *testing.T) {
	cfg, _ := mini(t)
	submit(t, cfg, "b", "1")
	for _, verb := range []string{"pause", "resume"} {
		if got, body, _ := ask(t, cfg, "POST", "/asynqmon/api/queues/sim:"+verb, nil); got != http.StatusNoContent {
			t.Errorf("%s: got %d %s, want 204", verb, got, body)
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
		t.Errorf("run: got %d %s, want 204", got, body)
	}
	if c := countsOf(t, cfg, "b"); c.Open != 1 || c.Cancelled != 0 {
		t.Errorf("got %+v", c)
	}
}
