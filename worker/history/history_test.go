package history_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/history"
)

func TestTheCountsOfAllProcessesAddUpMinuteByMinuteAcrossAFullHour(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		now := time.Date(2026, 5, 4, 18, 1, 30, 0, time.UTC)
		one, two := history.NewRecorder(rdb), history.NewRecorder(rdb)
		one.Add("api", history.Done, now)
		one.Add("api", history.Done, now.Add(-2*time.Minute)) // 17:59
		two.Add("api", history.Done, now)
		two.Add("api", history.Parked, now)
		two.Add("other", history.Dead, now)
		for _, r := range []*history.Recorder{one, two, one} {
			if err := r.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		got, err := history.Read(t.Context(), rdb, []string{"api", "other", "none"}, now, 60)
		if err != nil {
			t.Fatal(err)
		}
		for name, minutes := range got {
			if len(minutes) != 60 || !minutes[59].Start.Equal(now.Truncate(time.Minute)) {
				t.Fatalf("%s: %d minutes, the last one from %s", name, len(minutes), minutes[len(minutes)-1].Start)
			}
		}
		api := got["api"]
		if api[59].Counts[history.Done] != 2 || api[59].Counts[history.Parked] != 1 || api[57].Counts[history.Done] != 1 || api[58].Counts != nil {
			t.Errorf("api: the last three minutes are %+v", api[57:])
		}
		if got["other"][59].Counts[history.Dead] != 1 || got["none"][59].Counts != nil {
			t.Errorf("other: %+v, none: %+v", got["other"][59], got["none"][59])
		}
		keys, err := rdb.Keys(t.Context(), "callq:*").Result()
		if err != nil || len(keys) != 3 {
			t.Fatalf("keys %v, %v", keys, err)
		}
		for _, key := range keys {
			if ttl := rdb.TTL(t.Context(), key).Val(); ttl <= time.Hour {
				t.Errorf("%s lives for %s, want more than an hour", key, ttl)
			}
		}
	})
}

func TestCountsThatCannotBeWrittenAreWrittenLater(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		now := time.Now()
		r := history.NewRecorder(rdb)
		r.Add("api", history.Done, now)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if r.Flush(ctx) == nil {
			t.Fatal("got no error")
		}
		r.Add("api", history.Done, now)
		if err := r.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, err := history.Read(t.Context(), rdb, []string{"api"}, now, 2)
		if err != nil || got["api"][1].Counts[history.Done] != 2 {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}

func TestACallIsFoundByTheCorrelationIDOfAFailedAttempt(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		r := history.NewRecorder(rdb)
		r.AddID("api", "corr-1", "call-1")
		r.AddID("other", "corr-2", "call-2")
		r.AddID("api", strings.Repeat("x", 1000), "call-3")
		if err := r.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		for id, want := range map[string]string{"corr-1": "call-1", "corr-2": "call-2", "none": "", "": "", strings.Repeat("x", 1000): ""} {
			got, err := history.FindID(t.Context(), rdb, []string{"api", "other"}, id, time.Now())
			if err != nil || got != want {
				t.Errorf("%.20q: got %q, %v; want %q", id, got, err, want)
			}
		}
		if got, err := history.FindID(t.Context(), rdb, []string{"api"}, "corr-1", time.Now().AddDate(0, 0, 9)); got != "" || err != nil {
			t.Errorf("after nine days: got %q, %v", got, err)
		}
	})
}
