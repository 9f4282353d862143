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

// notes is what OnSend was told.
type notes struct {
	mu   sync.Mutex
	said []string
	// refuse is what it says to a key the first time.
	refuse map[string]error
}

func (n *notes) onSend(c tasks.Call) (back func(), err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.refuse[c.Key]; err != nil {
		delete(n.refuse, c.Key)
		n.said = append(n.said, c.Key+" refused")
		return nil, err
	}
	n.said = append(n.said, c.Key+" sent")
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.said = append(n.said, c.Key+" back")
	}, nil
}

func (n *notes) of(key string) (list []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.said {
		if s[:1] == key {
			list = append(list, s[2:])
		}
	}
	return list
}

func TestOnSendIsToldOfEachRequestThatMustNotBeMadeTwiceUntilTheCallEnds(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, first *callqtest.Env) {
		n := &notes{refuse: map[string]error{"c": worker.ErrMaybeSent, "d": errors.New("the disk is full")}}
		env := callqtest.New(t, worker.Config{Redis: first.Redis(), OnSend: n.onSend, Upstreams: []worker.Upstream{{
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
				t.Errorf("of %s it was told %q, want %q", key, got, want)
			}
		}
		for key, want := range map[string]int{"a": 1, "c": 0, "d": 1} {
			if got := first.Sim().Arrived("POST", "/"+key); got != want {
				t.Errorf("%s arrived %d times, want %d", key, got, want)
			}
		}
	})
}
