package ending_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ending"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

func unknown(r *ledger.Record) ending.Reason {
	return ending.Reason{UserMessage: "for the user", Advice: "for the operator", Endpoint: "POST /orders " + r.Key}
}

// sent submits a POST and returns its record, marked as sent.
func sent(t *testing.T, rdb *redis.Client) (*ledger.Ledger, ledger.Record) {
	t.Helper()
	producer, err := tasks.NewProducer(rdb, tasks.ProducerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	call := tasks.Call{Batch: "b", Key: "k", Upstream: "sim", Method: "POST", Path: "/orders"}
	receipt, err := producer.Submit(t.Context(), call)
	if err != nil {
		t.Fatal(err)
	}
	l := ledger.New(rdb)
	r, err := l.Find(t.Context(), receipt.ID)
	if err != nil {
		t.Fatal(err)
	}
	return l, r
}

func mark(t *testing.T, rdb *redis.Client, id string, attempt int) {
	t.Helper()
	if err := rdb.HSet(t.Context(), "callq:{sim}:c:"+id, "sent", attempt).Err(); err != nil {
		t.Fatal(err)
	}
}

func cancel(t *testing.T, l *ledger.Ledger, r ledger.Record) (ledger.State, bool) {
	t.Helper()
	state, active, err := ending.Cancel(t.Context(), l, r, ledger.Ending{Class: "cancelled"}, unknown)
	if err != nil {
		t.Fatal(err)
	}
	return state, active
}

func TestACallThatMayHaveBeenSentIsNeverCancelled(t *testing.T) {
	for name, late := range map[string]bool{"the record was read with its mark": false, "it was marked since the record was read": true} {
		t.Run(name, func(t *testing.T) {
			redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
				l, r := sent(t, rdb)
				mark(t, rdb, r.ID, 3)
				if !late {
					r.Sent = 3
				}
				if state, active := cancel(t, l, r); state != ledger.Dead || active {
					t.Fatalf("got state %q, active %v", state, active)
				}
				got, err := l.Find(t.Context(), r.ID)
				if err != nil {
					t.Fatal(err)
				}
				e := got.Ending
				if got.State != ledger.Dead || e.Class != "outcome_unknown" || e.Attempts != 3 || e.Endpoint != "POST /orders k" ||
					e.UserMessage != "for the user" || e.Advice != "for the operator" || !strings.Contains(e.Message, ending.LostAnswer) {
					t.Errorf("got %s: %+v", got.State, e)
				}
				groups, err := l.DeadGroups(t.Context())
				if err != nil || len(groups) != 1 || groups[0].Class != "outcome_unknown" || groups[0].Name != got.Group {
					t.Errorf("groups %+v, %v", groups, err)
				}
				if found, err := l.Audit(t.Context(), "b", tasks.TaskID); err != nil || len(found) != 0 {
					t.Errorf("audit: %+v, %v", found, err)
				}
				if n := rdb.HGet(t.Context(), "callq:{sim}:c:"+r.ID, "assumed").Val(); n != "1" {
					t.Error("a real answer would not replace the ending")
				}
			})
		})
	}
}

func TestACallWhoseMarkWasClearedIsCancelled(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		l, r := sent(t, rdb)
		r.Sent = 1 // the attempt was recorded since
		if state, _ := cancel(t, l, r); state != ledger.Cancelled {
			t.Errorf("got state %q", state)
		}
	})
}

func TestACallThatIsActiveOrHasEndedIsNotCancelled(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		l, r := sent(t, rdb)
		mark(t, rdb, r.ID, 1)
		rdb.ZAdd(context.Background(), "asynq:{sim}:lease", redis.Z{Score: 9e9, Member: r.ID})
		if state, active := cancel(t, l, r); state != "" || !active {
			t.Errorf("while it is active: got state %q, active %v", state, active)
		}
		rdb.ZRem(t.Context(), "asynq:{sim}:lease", r.ID)
		cancel(t, l, r)
		if state, active := cancel(t, l, r); state != "" || active {
			t.Errorf("the second time: got state %q, active %v", state, active)
		}
	})
}

func TestACallThatMayHaveBeenSentIsNotChangedWithoutTextsForItsEnding(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		l, r := sent(t, rdb)
		mark(t, rdb, r.ID, 1)
		if state, active, err := ending.Cancel(t.Context(), l, r, ledger.Ending{Class: "cancelled"}, nil); state != "" || active || !errors.Is(err, ledger.ErrMaybeSent) {
			t.Errorf("got state %q, active %v, %v", state, active, err)
		}
		if got, err := l.Find(t.Context(), r.ID); err != nil || got.State != ledger.Open {
			t.Errorf("got %s, %v", got.State, err)
		}
	})
}
