package notify

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// newsOf returns the end of a batch as news.
func newsOf(t *testing.T, batch string) News {
	t.Helper()
	m, err := MessageOf(BatchEnded{ID: idOf(batch), At: at, Batch: batch, Accepted: 1, Done: 1})
	if err != nil {
		t.Fatal(err)
	}
	return News{Message: m, Name: m.ID, Quiet: time.Hour}
}

// drain returns the ids of all events of an outbox, and removes them.
func drain(t *testing.T, s *Store, receiver string) (ids []string) {
	t.Helper()
	for {
		first, ok, err := s.First(t.Context(), receiver)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return ids
		}
		ids = append(ids, first.Message.ID)
		if err := s.Remove(t.Context(), receiver, first); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNewsAreAppendedOnceForEachReceiverThatWantsThem(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		s, now := NewStore(rdb, "a"), time.Now()
		if err := s.Register(t.Context(), now, map[string][]Type{"all": Types, "circuits": {TypeCircuitOpened}, Listener: {TypeBatchEnded}}); err != nil {
			t.Fatal(err)
		}
		news := []News{newsOf(t, "a"), newsOf(t, "b")}
		for range 2 { // as after an error between the append and what follows
			if lost, err := s.Append(t.Context(), now, news); err != nil || len(lost) > 0 {
				t.Fatalf("lost %v, %v", lost, err)
			}
		}
		want := []string{news[0].Message.ID, news[1].Message.ID}
		for receiver, want := range map[string][]string{"all": want, Listener: want, "circuits": nil} {
			if got := drain(t, s, receiver); !slices.Equal(got, want) {
				t.Errorf("receiver %s has %v, want %v", receiver, got, want)
			}
		}
		// After their time the same news are told again.
		if _, err := s.Append(t.Context(), now.Add(2*time.Hour), news[:1]); err != nil {
			t.Fatal(err)
		}
		if got := drain(t, s, "all"); len(got) != 1 {
			t.Errorf("got %v", got)
		}
	})
}

func TestOfTooManyEventsTheOldestAreDroppedAndCounted(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		s, now := NewStore(rdb, "a"), time.Now()
		if err := s.Register(t.Context(), now, map[string][]Type{"ops": Types}); err != nil {
			t.Fatal(err)
		}
		var news []News
		for i := range MostWaiting + 3 {
			news = append(news, newsOf(t, fmt.Sprint(i)))
		}
		lost := int64(0)
		for some := range slices.Chunk(news, 500) {
			of, err := s.Append(t.Context(), now, some)
			if err != nil {
				t.Fatal(err)
			}
			lost += of["ops"]
		}
		backlog, err := s.Backlog(t.Context(), "ops")
		if err != nil || backlog != (Backlog{Waiting: MostWaiting, Lost: 3}) || lost != 3 {
			t.Errorf("the backlog is %+v, %v; %d were said to be lost", backlog, err, lost)
		}
		if first, ok, err := s.First(t.Context(), "ops"); err != nil || !ok || first.Message.ID != news[3].Message.ID {
			t.Errorf("the first event is %+v, %v", first.Message, err)
		}
	})
}

func TestAReceiverThatNobodyConfiguresForAWeekIsForgotten(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		s, now := NewStore(rdb, "a"), time.Now()
		register := func(now time.Time, name string) {
			if err := s.Register(t.Context(), now, map[string][]Type{name: Types}); err != nil {
				t.Fatal(err)
			}
		}
		register(now.Add(-6*24*time.Hour), "recent")
		register(now.Add(-8*24*time.Hour), "old")
		rdb.RPush(t.Context(), outboxKey("old"), "x")
		if _, err := s.Append(t.Context(), now, []News{newsOf(t, "a")}); err != nil {
			t.Fatal(err)
		}
		if n := rdb.Exists(t.Context(), outboxKey("old")).Val(); n != 0 {
			t.Error("the old receiver has an outbox")
		}
		if got := drain(t, s, "recent"); len(got) != 1 {
			t.Errorf("the recent receiver has %v", got)
		}
	})
}

func TestOneProcessLeadsUntilItLeavesOrDies(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		a, b := NewStore(rdb, "a"), NewStore(rdb, "b")
		leads := func(s *Store) bool {
			t.Helper()
			ok, now, err := s.Lead(t.Context(), Collecting)
			if err != nil || time.Since(now).Abs() > time.Minute {
				t.Fatalf("Redis's clock is %s, %v", now, err)
			}
			return ok
		}
		if !leads(a) || leads(b) || !leads(a) {
			t.Fatal("want a to lead, and b not")
		}
		if err := b.Leave(t.Context(), Collecting); err != nil || leads(b) {
			t.Fatalf("b leads although a has not left: %v", err)
		}
		if err := a.Leave(t.Context(), Collecting); err != nil || !leads(b) || leads(a) {
			t.Fatalf("b does not lead after a has left: %v", err)
		}
		if ttl := rdb.PTTL(t.Context(), keyPrefix+Collecting).Val(); ttl <= 0 || ttl > leaseFor {
			t.Errorf("the lease lasts %s", ttl)
		}
	})
}

func TestTextThatIsNotAnEventIsRemoved(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		s, now := NewStore(rdb, "a"), time.Now()
		rdb.RPush(t.Context(), outboxKey("ops"), "x", `{"id":"y"}`)
		if err := s.Register(t.Context(), now, map[string][]Type{"ops": Types}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Append(t.Context(), now, []News{newsOf(t, "a")}); err != nil {
			t.Fatal(err)
		}
		if got := drain(t, s, "ops"); !slices.Equal(got, []string{idOf("a")}) {
			t.Errorf("got %v", got)
		}
	})
}
