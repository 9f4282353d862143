package deadletters_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/deadletters"
)

func TestARateIsReadAsTheTimeBetweenTwoCalls(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"50/s": 20 * time.Millisecond, "1/s": time.Second, "600/m": 100 * time.Millisecond, "3600/h": time.Second,
	} {
		if got, err := deadletters.ParseRate(text); err != nil || got != want {
			t.Errorf("ParseRate(%q) = %v, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "50", "0/s", "-1/s", "x/s", "1/d", "1/s/s", "1.5/s"} {
		if _, err := deadletters.ParseRate(bad); err == nil {
			t.Errorf("ParseRate(%q) has no error", bad)
		}
	}
}

func FuzzParseRate(f *testing.F) {
	for _, text := range []string{"50/s", "1/m", "999999999999/h", "9223372036854775807/s", "/", "1e3/s"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if pause, err := deadletters.ParseRate(text); err == nil && pause < 0 {
			t.Errorf("%q: %v", text, pause)
		}
	})
}

func TestAFilterMatchesAllOfItsValues(t *testing.T) {
	letter := tasks.CallInfo{Endpoint: "GET /x", Result: tasks.Result{
		Batch: "b", Key: "k", Upstream: "sim", Class: "quota", Rule: "r", ErrorCode: "67200001", HTTPStatus: 429,
	}}
	for text, want := range map[string]bool{
		"batch=b": true, "key=k": true, "upstream=sim": true, "class=quota": true, "rule=r": true, "endpoint=GET /x": true,
		"code=67200001": true, "status=429": true, "batch=c": false, "code=none": false, "status=none": false,
	} {
		key, value, err := deadletters.Parse(text)
		if err != nil || (deadletters.Filter{key: value}).Match(letter) != want {
			t.Errorf("%s: %v, want a match: %v", text, err, want)
		}
		if both := (deadletters.Filter{"batch": "b", key: value}); key != "batch" && both.Match(letter) != want {
			t.Errorf("batch=b and %s: want a match: %v", text, want)
		}
	}
	if !(deadletters.Filter{"code": "none", "status": "none"}).Match(tasks.CallInfo{}) || !deadletters.Filter(nil).Match(letter) {
		t.Error("absent values are not none, or a filter without values does not match")
	}
	for _, bad := range []string{"", "batch", "state=dead"} {
		if _, _, err := deadletters.Parse(bad); err == nil || !strings.Contains(err.Error(), "batch, class, code, endpoint") {
			t.Errorf("Parse(%q): %v", bad, err)
		}
	}
}

func TestATallyHasTheLargestGroupFirst(t *testing.T) {
	var tally deadletters.Tally
	for _, class := range []string{"auth", "quota", "quota"} {
		tally.Add(tasks.CallInfo{Result: tasks.Result{Class: class}})
	}
	groups := tally.Groups()
	if tally.Total != 3 || len(groups) != 2 || groups[0].Class != "quota" || groups[0].Count != 2 ||
		!slices.ContainsFunc(groups, func(g tasks.DeadGroup) bool { return g.Name == tasks.DeadGroupName("auth", "", "") }) {
		t.Errorf("got %d, %+v", tally.Total, groups)
	}
}
