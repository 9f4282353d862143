package ledger

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/tasks/redislua"
)

// full makes Redis refuse every command that needs memory.
func full(d *fixture) {
	d.Helper()
	d.must(d.rdb.Set(d.Context(), "filler", strings.Repeat("x", 1<<20), 0).Err())
	d.must(d.rdb.ConfigSet(d.Context(), "maxmemory-policy", "noeviction").Err())
	d.must(d.rdb.ConfigSet(d.Context(), "maxmemory", "1mb").Err())
	if err := d.rdb.Set(d.Context(), "k", "v", 0).Err(); err == nil || !strings.HasPrefix(err.Error(), "OOM") {
		d.Fatalf("Redis is not full: %v", err)
	}
}

func TestAnOutcomeIsRecordedWhenRedisIsOutOfMemory(t *testing.T) {
	rdb := redistest.Redis(t).Client
	d := newFixture(t, rdb)
	takes := map[string]*Delivery{}
	for _, key := range []string{"done", "dropped", "dead", "attempt", "park", "mark"} {
		takes[key] = d.acceptAndTake("b", "q", key)
	}
	d.accept("b", "q", "cancel")
	late := d.acceptUntil("b", "q:high", "late", time.Now().Add(-time.Second))
	purged := d.acceptAndTake("b", "q:low", "purged")
	d.end(purged, finalOf(Dead))
	doubtful := d.acceptAndTake("b", "q:low", "doubtful")
	assumed := finalOf(Dead)
	assumed.Assumed = true
	d.end(doubtful, assumed)
	full(d)

	for _, key := range []string{"done", "dropped", "dead"} {
		if _, applied, err := d.dispatcher.End(t.Context(), takes[key], finalOf(State(key)), &Attempt{N: 1}); err != nil || !applied {
			t.Errorf("end %s: %v, %v", key, applied, err)
		}
	}
	if _, applied, err := d.dispatcher.End(t.Context(), doubtful, finalOf(Done), nil); err != nil || !applied {
		t.Errorf("late real answer: %v, %v", applied, err)
	}
	if _, applied, err := d.dispatcher.Attempt(t.Context(), takes["attempt"], &Attempt{N: 1}); err != nil || !applied {
		t.Errorf("attempt: %v, %v", applied, err)
	}
	takes["park"].Parked++
	if _, applied, err := d.dispatcher.Park(t.Context(), takes["park"], &Attempt{N: 1}); err != nil || !applied {
		t.Errorf("park: %v, %v", applied, err)
	}
	if cancelled, _, err := d.l.Cancel(t.Context(), d.record("q", idOf("b", "cancel")), Ending{}); err != nil || !cancelled {
		t.Errorf("cancel: %v, %v", cancelled, err)
	}
	if found := d.pastDeadline("q:high"); !slices.Equal(found, []string{late}) {
		t.Errorf("got calls past their deadline %v", found)
	}
	if got := d.withdraw(expired(d.record("q:high", late))); got != Withdrew {
		t.Errorf("withdraw: got %d", got)
	}
	if purged, _, err := d.l.Purge(t.Context(), d.record("q:low", purged.ID)); err != nil || !purged {
		t.Errorf("purge: %v, %v", purged, err)
	}
	d.wantCounts("b", Counts{Accepted: 10, Open: 3, Done: 2, Dropped: 1, Dead: 3, Cancelled: 1})

	// A call that cannot be marked must not be sent, and a new call is not accepted.
	if _, _, err := d.dispatcher.MarkSent(t.Context(), takes["mark"], 1, true, ""); err == nil {
		t.Error("a call was marked without memory")
	}
	if _, err := d.l.Claim(t.Context(), "b", []Entry{entryOf("b", "q", "new")}); err == nil {
		t.Error("a key was claimed without memory")
	}
}

func TestAScriptThatBeginsWithHSETFailsWhenRedisIsFull(t *testing.T) {
	d := newFixture(t, redistest.Redis(t).Client)
	full(d)
	hset := "return redis.call('HSET', KEYS[1], 'f', 'v')"
	if err := d.rdb.Eval(t.Context(), hset, []string{"h"}).Err(); err == nil || !strings.Contains(err.Error(), "OOM") {
		t.Fatalf("HSET first: %v", err)
	}
	if err := d.rdb.Eval(t.Context(), "redis.call('ZREM', KEYS[2], ''); "+hset, []string{"h", "z"}).Err(); err != nil {
		t.Fatalf("ZREM first: %v", err)
	}
	// One of the ledger's scripts without its first write.
	delivery := &Delivery{Record: Record{ID: "id", Queue: "q", Generation: 1}}
	k := keysOf("q")
	d.must(d.rdb.ConfigSet(t.Context(), "maxmemory", "0").Err())
	d.must(d.rdb.HSet(t.Context(), k.record("id"), "state", "open", "gen", 1).Err())
	d.must(d.rdb.ConfigSet(t.Context(), "maxmemory", "1mb").Err())
	src, err := sources.ReadFile("lua/attempt.lua")
	d.must(err)
	var bare []string
	for line := range strings.Lines(redislua.Compact(string(src))) {
		if !strings.Contains(line, "'HDEL'") {
			bare = append(bare, line)
		}
	}
	err = redis.NewScript(strings.Join(bare, "")).Run(t.Context(), d.rdb, []string{k.record("id"), k.circuit()}, 1, 0, "", "", "", "", "attempts", 1).Err()
	if err == nil || !strings.Contains(err.Error(), "OOM") {
		t.Fatalf("attempt without its first write: %v", err)
	}
	if _, applied, err := d.dispatcher.Attempt(t.Context(), delivery, nil); err != nil || !applied {
		t.Fatalf("attempt as it is: %v, %v", applied, err)
	}
}
