package ledger

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// requests returns how many requests a record counts, and what they cost.
func requests(r Record) (n int, amounts string) {
	all := r.folded()
	for _, c := range all.Requests {
		n += c.Requests
		amounts += c.Amount
	}
	return n, amounts
}

// sentLine is the line of an attempt that was sent.
func sentLine(n int, action string, status int) *Attempt {
	return &Attempt{At: time.Now(), N: n, Action: action, Class: "transient", Status: status}
}

func TestARecordCountsTheRequestsThatItsLogDoesNotHave(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		delivery := d.acceptAndTake("b", "q", "k")
		for n := 1; n <= 25; n++ {
			delivery.Attempts = n
			if _, applied, err := d.dispatcher.Attempt(t.Context(), delivery, sentLine(n, "retry", 500+n%2)); err != nil || !applied {
				t.Fatal(applied, err)
			}
		}
		delivery.NoteReplayed(*sentLine(26, "dead_letter", 401))
		f := finalOf(Dead)
		f.Ending.Amount = "0.50"
		if _, applied, err := d.dispatcher.End(t.Context(), delivery, f, sentLine(26, "dead_letter", 500)); err != nil || !applied {
			t.Fatal(applied, err)
		}
		d.archive(delivery)
		r := d.record("q", delivery.ID)
		if n, amounts := requests(r); n != 27 || amounts != "0.5" || len(r.Log) != 20 || r.Earlier.Maybe != 0 {
			t.Errorf("%d requests, amounts %q, %d lines, %+v", n, amounts, len(r.Log), r.Earlier)
		}
		if redriven, busy := d.redrive(r); !redriven {
			t.Fatalf("the call was not redriven; busy: %t", busy)
		}
		again := d.take("q")
		if n, amounts := requests(again.Record); n != 27 || amounts != "0.5" || !again.Earlier.Whole || again.Lineage[0].RedrivenAt.IsZero() {
			t.Errorf("after the redrive: %d requests, amounts %q, %+v", n, amounts, again.Earlier)
		}
		if _, applied, err := d.dispatcher.End(t.Context(), again, finalOf(Dead), sentLine(1, "dead_letter", 500)); err != nil || !applied {
			t.Fatal(applied, err)
		}
		d.archive(again)
		if purged, busy, err := d.l.Purge(t.Context(), d.record("q", again.ID)); err != nil || !purged {
			t.Fatalf("the call was not purged; busy: %t, %v", busy, err)
		}
		if n, _ := requests(d.record("q", again.ID)); n != 28 {
			t.Errorf("after the purge: %d requests, want 28", n)
		}
	})
}

func TestARecordCountsWhatADeadWorkerMayHaveSent(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		delivery := d.acceptAndTake("b", "q", "k")
		delivery.MaybeSent = 2
		if _, applied, err := d.dispatcher.Attempt(t.Context(), delivery, sentLine(1, "retry", 500)); err != nil || !applied {
			t.Fatal(applied, err)
		}
		if _, applied, err := d.dispatcher.End(t.Context(), delivery, finalOf(Done), sentLine(2, "succeed", 200)); err != nil || !applied {
			t.Fatal(applied, err)
		}
		if r := d.record("q", delivery.ID); r.Earlier.Maybe != 2 {
			t.Errorf("at most %d more requests, want 2", r.Earlier.Maybe)
		}
	})
}

func TestALineCountsWhatWasSent(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		line                Attempt
		requests, redirects int
	}{
		{Attempt{At: now, Status: 200}, 1, 0},
		{Attempt{At: now, Status: 200, More: 2}, 3, 2},
		{Attempt{At: now, Transport: "tls", More: -1}, 0, 0},
		{Attempt{Status: 401, More: -1}, 0, 0},
		{Attempt{At: now, Transport: "reset_after_send"}, 1, 0},
		{Attempt{At: now, Transport: "dial"}, 0, 0}, // an older version wrote no More
	} {
		if n, redirects := tt.line.Requests(), tt.line.Redirects(); n != tt.requests || redirects != tt.redirects {
			t.Errorf("%+v: %d requests, %d redirects; want %d, %d", tt.line, n, redirects, tt.requests, tt.redirects)
		}
	}
}

func TestTheKindsOfEarlierRequestsAreBoundedAndTheSumsExact(t *testing.T) {
	var e Earlier
	for i := range 100 {
		before := e
		e = e.With(Attempt{At: time.Now(), Action: "retry", Code: fmt.Sprint(i), Amount: "0.1", More: 1}.Counted(""))
		if i > 0 && before.Requests[0].Requests != 2 {
			t.Fatal("With changed the value that it was called on")
		}
	}
	n, redirects, priced := 0, 0, 0
	for _, c := range e.Requests {
		n, redirects, priced = n+c.Requests, redirects+c.Redirects, priced+c.Priced
	}
	if len(e.Requests) != maxKinds || n != 200 || redirects != 100 || priced != 100 || e.Requests[maxKinds-1].Amount != "8.5" {
		t.Errorf("%d kinds, %d requests, %d redirects, %d priced, the last %+v", len(e.Requests), n, redirects, priced, e.Requests[maxKinds-1])
	}
	if got := earlierFrom(e.encode()); got.encode() != e.encode() {
		t.Errorf("got %s after reading %s", got.encode(), e.encode())
	}
}

func TestValuesThatCallqNeverWritesAreNotCounted(t *testing.T) {
	for _, text := range []string{
		"", "1", "[]", `{"maybe":-4}`, `{"requests":[{"n":-1},{"n":3000000000},{"n":1,"redirects":2},{"n":1,"priced":9}]}`, `{"requests":"x"}`,
	} {
		if e := earlierFrom(text); len(e.Requests) > 0 || e.Maybe != 0 {
			t.Errorf("%s: got %+v", text, e)
		}
	}
}
