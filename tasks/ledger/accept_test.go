package ledger

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/tasks/redislua"
)

func TestAKeyStandsForOneContent(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		other := entryOf("b", "q", "k")
		other.Hash, other.Content = "other-hash", []byte("other content")
		for _, c := range []struct {
			what  string
			entry Entry
			want  Acceptance
		}{
			{"first", entryOf("b", "q", "k"), Accepted},
			{"same again", entryOf("b", "q", "k"), Duplicate},
			{"other content", other, Conflict},
			{"same once more", entryOf("b", "q", "k"), Duplicate},
		} {
			if got := d.send("b", c.entry)[0]; got != c.want {
				t.Fatalf("%s: got acceptance %d, want %d", c.what, got, c.want)
			}
		}
		if r := d.record("q", idOf("b", "k")); string(r.Content) != "content of k" || r.Hash != "hash-k" || r.Generation != 1 || r.State != Open {
			t.Fatalf("the record is %+v", r)
		}
		d.wantCounts("b", Counts{Accepted: 1, Open: 1})
	})
}

func TestTheFirstOfTwoEntriesWithOneKeyWins(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		second := entryOf("b", "q", "k")
		second.Hash = "other-hash"
		got := d.send("b", entryOf("b", "q", "k"), second, entryOf("b", "q", "k"))
		if got[0] != Accepted || got[1] != Conflict || got[2] != Duplicate {
			t.Fatalf("got acceptances %v", got)
		}
		d.wantCounts("b", Counts{Accepted: 1, Open: 1})
		d.wantPlaces("q", idOf("b", "k"), "pending", "task")
	})
}

func TestACallSentAgainWithAnotherPriorityStaysInItsQueue(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "k")
		if got := d.send("b", entryOf("b", "q:high", "k"))[0]; got != Duplicate {
			t.Fatalf("got acceptance %d, want Duplicate", got)
		}
		if d.dequeue("q:high").Delivery != nil {
			t.Fatal("the call is in two queues")
		}
		d.wantCounts("b", Counts{Accepted: 1, Open: 1})
	})
}

func TestAClaimWithoutARecordIsCompletedByTheNextSend(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		entries := []Entry{entryOf("b", "q", "k1"), entryOf("b", "q", "k2")}
		if _, err := d.l.Claim(t.Context(), "b", entries); err != nil { // the sender dies here
			t.Fatal(err)
		}
		d.wantCounts("b", Counts{})
		if found := d.audit("b"); len(found) != 0 {
			t.Fatalf("a claim without a record is not a loss, but the audit found %+v", found)
		}
		if got := d.send("b", entries...); got[0] != Accepted || got[1] != Accepted {
			t.Fatalf("got acceptances %v", got)
		}
		d.wantCounts("b", Counts{Accepted: 2, Open: 2})
	})
}

func TestAScheduledCallIsDueOnTheNextWholeSecond(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		for i, c := range []struct {
			at   time.Time
			want float64
		}{
			{time.Unix(4_000_000_000, 0), 4_000_000_000},
			{time.Unix(4_000_000_000, 1), 4_000_000_001},
			{time.Unix(4_000_000_000, 999_999_999), 4_000_000_001},
		} {
			e := entryOf("b", "q", fmt.Sprint(i))
			e.NotBefore = c.at
			if got := d.send("b", e)[0]; got != Accepted {
				t.Fatalf("got acceptance %d", got)
			}
			if got := rdb.ZScore(t.Context(), keysOf("q").scheduled(), e.ID).Val(); got != c.want {
				t.Errorf("%s is due at %.0f, want %.0f", c.at, got, c.want)
			}
			d.wantPlaces("q", e.ID, "scheduled", "task")
		}
		if d.dequeue("q").Delivery != nil {
			t.Fatal("a call was delivered before its time")
		}
	})
}

func TestAcceptingRunTwiceAfterALostReplyCountsOnce(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		entries := []Entry{entryOf("b", "q", "k")}
		claimed, err := d.l.Claim(t.Context(), "b", entries)
		d.must(err)
		for range 2 {
			_, err := d.l.Accept(t.Context(), "b", entries, claimed)
			d.must(err)
		}
		d.wantCounts("b", Counts{Accepted: 1, Open: 1})
		d.wantPlaces("q", idOf("b", "k"), "pending", "task")
	})
}

func TestAForeignTaskIsAdoptedWithoutBeingQueuedAgain(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		k := keysOf("q")
		d.must(rdb.HSet(t.Context(), k.task("foreign"), "msg", "m", "state", "pending").Err())
		d.must(rdb.LPush(t.Context(), k.pending(), "foreign").Err())
		delivery := d.take("q")
		if delivery.Known || delivery.ID != "foreign" {
			t.Fatalf("got %+v", delivery)
		}
		d.must(d.repairer.Adopt(t.Context(), delivery))
		d.wantCounts(AdHoc, Counts{Accepted: 1, Open: 1})
		d.wantPlaces("q", "foreign", "active", "lease", "task")
		if !d.end(delivery, finalOf(Dead)) {
			t.Fatal("an adopted call cannot be ended")
		}
		d.wantCounts(AdHoc, Counts{Accepted: 1, Dead: 1})
		d.accept(AdHoc, "q", "k") // a call of callq, in the same batch
		if found := d.audit(AdHoc); len(found) != 0 {
			t.Errorf("the audit found %+v", found)
		}
	})
}

// asynq's client writes a queue's name once in its life; after a FLUSHALL the queue
// would stay invisible to asynq's tools.
func TestAQueueIsListedAgainAfterEverythingWasDeleted(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "k")
		d.must(rdb.FlushAll(t.Context()).Err())
		d.accept("b", "q", "k")
		for _, set := range []string{asynqAll, keyQueues} {
			if !rdb.SIsMember(t.Context(), set, "q").Val() {
				t.Errorf("%s does not list the queue", set)
			}
		}
	})
}

// Idle workers ask rarely; a message on the channel wakes them when a queue is no
// longer empty.
func TestACallInAnEmptyQueueWakesIdleWorkers(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		news := rdb.Subscribe(t.Context(), redislua.Channel)
		defer news.Close()
		if _, err := news.Receive(t.Context()); err != nil { // it is subscribed
			t.Fatal(err)
		}
		publishes := func(what string, act func()) {
			t.Helper()
			act()
			// This message comes after the messages of the act, if there are any.
			d.must(rdb.Publish(t.Context(), redislua.Channel, "no more").Err())
			for n := 0; ; n++ {
				m, err := news.ReceiveMessage(t.Context())
				d.must(err)
				switch {
				case m.Payload == "no more" && n == 0 && what != "":
					t.Errorf("%s published no message", what)
				case m.Payload != "no more" && (what == "" || m.Payload != keysOf("q").pending()):
					t.Errorf("%q published %q", what, m.Payload)
				}
				if m.Payload == "no more" {
					return
				}
			}
		}
		publishes("accepting", func() { d.accept("b", "q", "a") })
		publishes("", func() { d.accept("b", "q", "b") }) // the queue had a call already
		a := d.take("q")
		d.take("q")
		d.end(a, finalOf(Dead))
		publishes("redriving", func() {
			if redriven, _ := d.redrive(d.record("q", a.ID)); !redriven {
				t.Fatal("the call was not redriven")
			}
		})
	})
}
