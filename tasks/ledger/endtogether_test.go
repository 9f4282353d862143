package ledger

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// closings prepares the endings of several calls for one step.
func (d *fixture) closings(deliveries []*Delivery, finals ...Final) []*closing {
	d.Helper()
	var list []*closing
	for i, delivery := range deliveries {
		e, err := closingOf(delivery, finals[i], nil)
		d.must(err)
		list = append(list, e)
	}
	return list
}

func TestEndingsOfOneStepAreEachRecordedOnceInOrder(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "done", "dead", "dropped", "late", "doubtful", "done2")
		d.accept("another", "q", "elsewhere")
		deliveries := d.takeMany(DequeueRequest{Queues: []string{"q"}}, 0, 0, 0, 0, 0, 0, 0, 0)
		if len(deliveries) != 7 {
			t.Fatalf("got %v", keysTaken(deliveries))
		}
		assumed := finalOf(Dead)
		assumed.Assumed = true
		d.end(deliveries[3], finalOf(Done))
		d.end(deliveries[4], assumed)
		for again := range 2 { // as after a lost reply
			list := d.closings(deliveries, finalOf(Done), finalOf(Dead), finalOf(Dropped), finalOf(Dropped), finalOf(Done), finalOf(Done), finalOf(Done))
			d.dispatcher.finish(t.Context(), &endScript{}, "q", list)
			for i, e := range list {
				if want := again == 0 && i != 3; e.err != nil || e.applied != want {
					t.Errorf("run %d: %s: got applied %v, %v", again, deliveries[i].Key, e.applied, e.err)
				}
			}
			d.archive(deliveries[1])
		}
		d.wantCounts("b", Counts{Accepted: 6, Done: 4, Dead: 1, Dropped: 1})
		d.wantCounts("another", Counts{Accepted: 1, Done: 1})
		var order []string
		for r, err := range d.l.Endings(t.Context(), "b", &Cursor{}) {
			d.must(err)
			order = append(order, r.Key)
		}
		if want := []string{"late", "done", "dead", "dropped", "doubtful", "done2"}; !slices.Equal(order, want) {
			t.Errorf("got endings in the order %v, want %v", order, want)
		}
		if n := rdb.Get(t.Context(), keysOf("q").processed()).Val(); n != "5" {
			t.Errorf("got asynq's count of processed tasks %s, want 5", n)
		}
		if left := rdb.LLen(t.Context(), keysOf("q").active()).Val(); left != 0 {
			t.Errorf("%d tasks are still active", left)
		}
	})
}

// refusesEnding is a hook that refuses every script with the ending of one call.
type refusesEnding struct{ id string }

func (h refusesEnding) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		for _, arg := range cmd.Args() {
			if text, ok := arg.(*string); ok && *text == h.id {
				err := reply("ERR refused")
				cmd.SetErr(err)
				return err
			}
		}
		return next(ctx, cmd)
	}
}

func (refusesEnding) DialHook(next redis.DialHook) redis.DialHook { return next }

func (refusesEnding) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func TestAnEndingThatRedisRefusesDoesNotStopTheOthers(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		d.accept("b", "q", "1", "2", "3")
		deliveries := d.takeMany(DequeueRequest{Queues: []string{"q"}}, 0, 0, 0)
		list := d.closings(deliveries, finalOf(Done), finalOf(Done), finalOf(Done))
		client := redis.NewClient(rdb.Options())
		defer client.Close()
		client.AddHook(refusesEnding{list[1].id})
		NewDispatcher(client, "").finish(t.Context(), &endScript{}, "q", list)
		if !list[0].applied || list[1].err == nil || !list[2].applied {
			t.Errorf("%v %v, %v, %v %v", list[0].applied, list[0].err, list[1].err, list[2].applied, list[2].err)
		}
		d.wantCounts("b", Counts{Accepted: 3, Open: 1, Done: 2})
	})
}

// writtenTogether writes endings of the named calls while the first one is being written, and
// returns which were written together.
func writtenTogether(t *testing.T, first func(), weights map[string]int, names ...string) (together [][]string) {
	synctest.Test(t, func(t *testing.T) {
		goOn := make(chan struct{})
		f := newFinisher()
		f.do = func(_ context.Context, list []*closing) {
			if len(together) == 0 {
				<-goOn
			}
			var ids []string
			for _, e := range list {
				ids = append(ids, e.id)
				e.err = nil
			}
			together = append(together, ids)
			if len(together) == 1 {
				first()
			}
		}
		for _, id := range names {
			go func() { _ = f.ask(t.Context(), &closing{place: newPlace(), id: id, weight: weights[id]}) }()
			synctest.Wait()
		}
		close(goOn)
		synctest.Wait()
		if f.busy || len(f.waiting) > 0 {
			t.Errorf("%d endings still wait, or a writer is still running", len(f.waiting))
		}
	})
	return together
}

func TestEndingsThatArriveWhileOneIsWrittenAreWrittenTogether(t *testing.T) {
	for _, c := range []struct {
		what    string
		weights map[string]int
		names   []string
		want    string
	}{
		{"several", nil, []string{"a", "b", "c", "d"}, "[[a] [b c d]]"},
		{"none", nil, []string{"a"}, "[[a]]"},
		{"one call twice", nil, []string{"a", "b", "c", "b", "d"}, "[[a] [b c] [b d]]"},
		{"large ones", map[string]int{"b": maxEndingBytes / 2, "c": maxEndingBytes, "d": 2 * maxEndingBytes}, []string{"a", "b", "c", "d", "e"}, "[[a] [b] [c] [d] [e]]"},
	} {
		if together := fmt.Sprint(writtenTogether(t, func() {}, c.weights, c.names...)); together != c.want {
			t.Errorf("%s: got %s, want %s", c.what, together, c.want)
		}
	}
	many := make([]string, 1+maxEndings+1)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	if together := writtenTogether(t, func() {}, nil, many...); len(together) != 3 || len(together[1]) != maxEndings {
		t.Errorf("got %d endings written together as %v", len(many), together)
	}
}

func TestAWriterThatExitsLeavesNoEndingWaiting(t *testing.T) {
	if together := fmt.Sprint(writtenTogether(t, runtime.Goexit, nil, "a", "b", "c")); together != "[[a] [b c]]" {
		t.Errorf("got %s written together", together)
	}
}
