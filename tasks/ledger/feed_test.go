package ledger

import (
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// finish takes the next call of a queue and ends it.
func (d *fixture) finish(queue string, state State) {
	d.Helper()
	f := Final{State: state}
	if state == Dead {
		f.Group = Group{Class: "auth", Code: "7", Message: "No.", Advice: "Ask."}
	}
	_, applied, err := d.dispatcher.End(d.Context(), d.take(queue), f, nil)
	d.must(err)
	if !applied {
		d.Fatal("the ending was not recorded")
	}
}

// notes returns the names of the notes of a queue.
func (d *fixture) notes(f *Feed, queues ...string) (names []string) {
	d.Helper()
	notes, err := f.Notes(d.Context(), time.Now().Add(time.Hour), 100, queues...)
	d.must(err)
	for _, n := range notes {
		names = append(names, n.Queue+" "+n.Name)
	}
	return names
}

func TestAWatchedQueueNotesEachBatchThatEndsAndEachNewCause(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d, feed := newFixture(t, rdb), NewFeed(rdb)
		d.accept("before", "q", "1")
		d.finish("q", Done)
		if got := d.notes(feed, "q"); len(got) > 0 {
			t.Errorf("a queue that is not watched has the notes %v", got)
		}
		d.must(feed.Watch(t.Context(), "q", "q:low"))
		d.accept("b", "q", "1", "2", "3")
		d.finish("q", Done)
		if got := d.notes(feed, "q"); len(got) > 0 {
			t.Errorf("while calls are open the notes are %v", got)
		}
		d.finish("q", Dead)
		d.finish("q", Dead)
		d.accept("adhoc", "q", "1")
		d.finish("q", Done)
		cause := Group{Class: "auth", Code: "7"}.Name()
		if got := d.notes(feed, "q", "q:low"); !slices.Equal(got, []string{"q " + cause, "q b"}) {
			t.Errorf("the notes are %v, want the cause and batch b", got)
		}
		c, ok, err := feed.Cause(t.Context(), "q", cause)
		if err != nil || !ok || c.Count != 2 || c.Latest != idOf("b", "3") || c.Advice != "Ask." {
			t.Errorf("the cause is %+v, %t, %v", c, ok, err)
		}
		ended, err := feed.Ended(t.Context(), "b", "before", "none")
		if err != nil || len(ended) != 2 || ended[0].Counts.Accepted != 3 || time.Since(ended[0].At) > time.Minute {
			t.Errorf("the batches that ended are %+v, %v", ended, err)
		}
	})
}

func TestANoteIsForgottenUnlessItWasMadeAgain(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d, feed := newFixture(t, rdb), NewFeed(rdb)
		d.must(feed.Watch(t.Context(), "q"))
		d.accept("a", "q", "1")
		d.accept("b", "q", "1")
		d.finish("q", Done)
		d.finish("q", Done)
		notes, err := feed.Notes(t.Context(), time.Now().Add(time.Hour), 100, "q")
		d.must(err)
		d.accept("b", "q", "2")
		if ended, err := feed.Ended(t.Context(), "a", "b"); err != nil || len(ended) != 1 || ended[0].Name != "a" {
			t.Errorf("the batches that ended are %+v, %v; want a alone", ended, err)
		}
		d.finish("q", Done)
		d.must(feed.Forget(t.Context(), notes...))
		if got := d.notes(feed, "q"); !slices.Equal(got, []string{"q b"}) {
			t.Errorf("the notes are %v, want that of b, which ended again", got)
		}
		if early, err := feed.Notes(t.Context(), time.Now().Add(-time.Hour), 100, "q"); err != nil || len(early) > 0 {
			t.Errorf("an hour ago there were the notes %v, %v", early, err)
		}
	})
}
