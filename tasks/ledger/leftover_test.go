package ledger

import (
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// fill gives a record every field that scripts write, whatever they are.
func (d *fixture) fill(queue, id string, fields ...string) {
	d.Helper()
	var pairs []any
	for _, field := range fields {
		pairs = append(pairs, field, "1")
	}
	d.must(d.rdb.HSet(d.Context(), keysOf(queue).record(id), pairs...).Err())
}

// wantFields says which fields a record has; what is not among them was forgotten.
func (d *fixture) wantFields(queue, id string, want ...string) {
	d.Helper()
	got := d.rdb.HKeys(d.Context(), keysOf(queue).record(id)).Val()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		d.Errorf("the record has %s, want %s", strings.Join(got, " "), strings.Join(want, " "))
	}
}

// ofBefore are the fields that tell of attempts, besides those of the ending.
var ofBefore = []string{
	"assumed", "sent", "mark", "no", "given", "starts", "settled", "attempts", "parked", "first", "held_base", "held_own", "parked_at", "log", "alone",
}

func TestARedrivenCallHasNothingOfBeforeButItsLineage(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		delivery := d.acceptAndTake("b", "q", "k")
		d.end(delivery, finalOf(Dead))
		d.fill("q", delivery.ID, ofBefore...)
		if redriven, busy := d.redrive(d.record("q", delivery.ID)); !redriven {
			t.Fatalf("it is not redriven; busy: %t", busy)
		}
		d.wantFields("q", delivery.ID, "state", "gen", "batch", "origin", "content", "lineage")
	})
}

func TestAPurgedDeadLetterKeepsOnlyWhatSaysThatItWas(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		delivery := d.acceptAndTake("b", "q", "k")
		d.end(delivery, finalOf(Dead))
		d.fill("q", delivery.ID, "log", "lineage")
		if purged, busy, err := d.l.Purge(t.Context(), d.record("q", delivery.ID)); err != nil || !purged {
			t.Fatalf("it is not purged; busy: %t, %v", busy, err)
		}
		for _, weighty := range []string{"content", "body", "type", "log", "lineage"} {
			if rdb.HExists(t.Context(), keysOf("q").record(delivery.ID), weighty).Val() {
				t.Errorf("it keeps its %s", weighty)
			}
		}
	})
}
