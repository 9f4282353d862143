package ledger

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// fail dequeues calls and makes each of them wait for a retry that is due.
func (d *fixture) fail(batch string, names ...string) {
	d.Helper()
	for _, name := range names {
		delivery := d.take("q")
		if delivery.Key != name {
			d.Fatalf("got %s, want %s", delivery.Key, name)
		}
		delivery.Attempts++
		_, applied, err := d.dispatcher.Attempt(d.Context(), delivery, &Attempt{N: delivery.Attempts})
		d.must(err)
		if !applied {
			d.Fatalf("the attempt of %s in batch %s was not recorded", name, batch)
		}
		d.retry("q", delivery.ID)
	}
}

func (d *fixture) forwardRetries(want int) {
	d.Helper()
	n, err := d.dispatcher.ForwardRetries(d.Context(), "q")
	d.must(err)
	if n != want {
		d.Fatalf("%d retries were moved, want %d", n, want)
	}
}

// wantNext dequeues calls and requires that they are these, in this order.
func (d *fixture) wantNext(want string) {
	d.Helper()
	var got []string
	for range strings.Fields(want) {
		got = append(got, d.take("q").Key)
	}
	if !slices.Equal(got, strings.Fields(want)) {
		d.Fatalf("got %s, want %s", got, want)
	}
}

func TestDueRetriesTakeEverySecondPlaceAheadOfTheBacklog(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "r1", "r2", "r3", "k1", "k2", "k3", "k4", "k5")
		d.fail("b", "r1", "r2", "r3")
		d.forwardRetries(3)
		d.forwardRetries(0)
		d.wantNext("r1 k1 r2 k2 r3 k3 k4 k5")
		for i := range 3 {
			d.wantPlaces("q", idOf("b", fmt.Sprint("r", i+1)), "active", "lease", "task")
		}
	})
}

func TestOtherCallsGetEverySecondPlaceHoweverOftenRetriesFallDue(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "r", "k1", "k2", "k3")
		d.fail("b", "r")
		d.forwardRetries(1)
		for _, next := range []string{"k1", "k2", "k3"} {
			d.fail("b", "r")
			d.forwardRetries(1) // it is due again before another place is free
			d.wantNext(next)
		}
		d.wantNext("r")
	})
}

func TestParkedCallsKeepTheirPlaceBesideRetries(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "r", "e", "p1", "p2", "k1", "k2")
		d.fail("b", "r")
		e := d.take("q") // waits for its endpoint, after an attempt
		e.Attempts, e.Parked, e.ParkedAt = 1, 1, time.Now()
		_, _, err := d.dispatcher.Attempt(t.Context(), e, nil)
		d.must(err)
		d.retry("q", e.ID)
		p1, p2 := d.take("q"), d.take("q")
		for _, delivery := range []*Delivery{p2, p1} {
			delivery.Parked = 1
			_, _, err := d.dispatcher.Park(t.Context(), delivery, nil)
			d.must(err)
		}
		d.forwardRetries(2)
		d.wantNext("p1 p2 r k1 k2 e")
	})
}

func TestRetriesWithoutAPlaceStayInTheRetrySet(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		const retries = 700
		k, pipe := keysOf("q"), rdb.Pipeline()
		for i := range retries {
			id := fmt.Sprint("r", i)
			pipe.ZAdd(t.Context(), k.retry(), redis.Z{Score: 1, Member: id})
			pipe.HSet(t.Context(), k.record(id), "attempts", 1)
		}
		for i := range 2 * retries {
			id := fmt.Sprint("k", i)
			pipe.LPush(t.Context(), k.pending(), id)
			pipe.HSet(t.Context(), k.task(id), "msg", "m")
		}
		_, err := pipe.Exec(t.Context())
		d.must(err)
		forward := func() (moved int) {
			for {
				n, err := d.dispatcher.ForwardRetries(t.Context(), "q")
				d.must(err)
				if n == 0 {
					return moved
				}
				moved += n
			}
		}
		moved := forward()
		if left := int(rdb.ZCard(t.Context(), k.retry()).Val()); moved < 400 || left != retries-moved || left == 0 {
			t.Fatalf("%d retries were moved and %d are left, of %d", moved, left, retries)
		}
		order := rdb.LRange(t.Context(), k.pending(), 0, -1).Val()
		slices.Reverse(order) // the next one is last in the list
		if len(order) != 2*retries+moved {
			t.Fatalf("got %d pending tasks", len(order))
		}
		for i, id := range order[:2*moved] {
			if strings.HasPrefix(id, "r") != (i%2 == 0) {
				t.Fatalf("got %[2]s at place %[1]d", i, id)
			}
		}
		d.must(rdb.LTrim(t.Context(), k.pending(), 0, int64(-2*moved)-1).Err()) // they were dequeued
		if more := forward(); more != retries-moved {
			t.Fatalf("got %d more moved, want %d", more, retries-moved)
		}
	})
}
