package filerun

import (
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/tasks"
)

func TestTheSecondResultOfAKeyIsOutdated(t *testing.T) {
	rules := tasks.Rules{Upstreams: []tasks.UpstreamRules{{Name: "api"}}}
	p, err := readPlan(strings.NewReader("{\"key\":\"a\",\"path\":\"/a\"}\n{\"key\":\"b\",\"path\":\"/b\"}\n"), rules, 0)
	if err != nil {
		t.Fatal(err)
	}
	call, err := rules.Check(tasks.Call{Key: "a", Path: "/a"})
	if err != nil {
		t.Fatal(err)
	}
	result := tasks.Result{Key: "a", Digest: tasks.ContentHash(call), State: tasks.StateDone}
	for i, want := range []lineUse{lineFinished, lineOutdated} {
		if got := p.applyResult(result, func(tasks.Result) bool { return false }); got != want {
			t.Errorf("result %d of one key: got use %d, want %d", i+1, got, want)
		}
	}
	if open := p.open(); open != 1 {
		t.Errorf("got %d open calls, want 1", open)
	}
}
