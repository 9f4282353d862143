package worker_test

import (
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
)

// journal is a worker.Journal that notes its calls.
type journal struct {
	mu    sync.Mutex
	lines []string
	// refuse has the error of the first Sending of a key.
	refuse map[string]error
}

func (n *journal) Sending(c tasks.Call) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.refuse[c.Key]; err != nil {
		delete(n.refuse, c.Key)
		n.lines = append(n.lines, c.Key+" refused")
		return err
	}
	n.lines = append(n.lines, c.Key+" sent")
	return nil
}

func (n *journal) Returned(c tasks.Call) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, c.Key+" back")
}

func (n *journal) of(key string) (list []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.lines {
		if s[:1] == key {
			list = append(list, s[2:])
		}
	}
	return list
}

func TestTheJournalHasEachRequestThatMustNotBeMadeTwiceUntilTheCallEnds(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, first *callqtest.Env) {
		n := &journal{refuse: map[string]error{"c": worker.ErrMaybeSent, "d": errors.New("the disk is full")}}
		env := callqtest.New(t, worker.Config{Redis: first.Redis(), Journal: n, Upstreams: []worker.Upstream{{
			Name: callqtest.Upstream, BaseURL: first.Sim().URL(), Policy: callqtest.Fast(t), Concurrency: 1,
		}}})
		first.Sim().Script("* /b -> 68300008; 67200001 retry-after=1; ok\n* * -> ok")
		for _, key := range []string{"a", "b", "c", "d", "e"} {
			method := "POST"
			if key == "e" {
				method = "GET"
			}
			env.Submit(tasks.Call{Batch: "b", Key: key, Method: method, Path: "/" + key})
		}
		env.Start()
		results := env.AwaitBatch("b")
		want(t, results["a"], tasks.StateDone, policy.ClassOK, 1)
		want(t, results["b"], tasks.StateDone, policy.ClassOK, 2)
		want(t, results["c"], tasks.StateDead, policy.ClassOutcomeUnknown, 1)
		want(t, results["d"], tasks.StateDone, policy.ClassOK, 1)
		want(t, results["e"], tasks.StateDone, policy.ClassOK, 1)
		for key, want := range map[string][]string{
			"a": {"sent"}, "b": {"sent", "back", "sent", "back", "sent"}, "c": {"refused"}, "d": {"refused", "sent"}, "e": nil,
		} {
			if got := n.of(key); !slices.Equal(got, want) {
				t.Errorf("the journal has %q of %s, want %q", got, key, want)
			}
		}
		for key, want := range map[string]int{"a": 1, "c": 0, "d": 1} {
			if got := first.Sim().Arrived("POST", "/"+key); got != want {
				t.Errorf("%s arrived %d times, want %d", key, got, want)
			}
		}
	})
}
