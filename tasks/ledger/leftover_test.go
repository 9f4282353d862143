package ledger

import (
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// fill gives a record every field that scripts write, with any value.
func (d *fixture) fill(queue, id string, fields ...string) {
	d.Helper()
	var pairs []any
	for _, field := range fields {
		pairs = append(pairs, field, "1")
	}
	d.must(d.rdb.HSet(d.Context(), keysOf(queue).record(id), pairs...).Err())
}

// wantFields requires that a record has these fields and no others.
func (d *fixture) wantFields(queue, id string, want ...string) {
	d.Helper()
	got := d.rdb.HKeys(d.Context(), keysOf(queue).record(id)).Val()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		d.Errorf("got fields %s, want %s", strings.Join(got, " "), strings.Join(want, " "))
	}
}

// attemptFields are the fields about attempts, besides those of the ending.
var attemptFields = []string{
	"assumed", "sent", "mark", "no", "given", "starts", "settled", "attempts", "parked", "first", "held_base", "held_own", "parked_at", "log", "alone",
}

func TestARedriveKeepsOnlyTheLineageAndTheCountOfRequestsOfTheFormerGeneration(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		delivery := d.acceptAndTake("b", "q", "k")
		d.end(delivery, finalOf(Dead))
		d.fill("q", delivery.ID, attemptFields...)
		if redriven, busy := d.redrive(d.record("q", delivery.ID)); !redriven {
			t.Fatalf("the call was not redriven; busy: %t", busy)
		}
		d.wantFields("q", delivery.ID, "state", "gen", "batch", "origin", "content", "lineage", "earlier")
	})
}

func TestAPurgeKeepsOnlyTheEndingOfADeadLetter(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		delivery := d.acceptAndTake("b", "q", "k")
		d.end(delivery, finalOf(Dead))
		d.fill("q", delivery.ID, "log", "lineage")
		if purged, busy, err := d.l.Purge(t.Context(), d.record("q", delivery.ID)); err != nil || !purged {
			t.Fatalf("the call was not purged; busy: %t, %v", busy, err)
		}
		for _, large := range []string{"content", "body", "type", "log", "lineage"} {
			if rdb.HExists(t.Context(), keysOf("q").record(delivery.ID), large).Val() {
				t.Errorf("the record still has its %s", large)
			}
		}
	})
}
