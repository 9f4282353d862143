// Package deadletters selects dead letters by their values, for the command line and the
// HTTP API. It may change in any version.
//
//	filter, err := deadletters.Parse("class=quota")
//	for c, err := range client.DeadLetters(ctx, tasks.DeadFilter{Match: filter.Match}) {
//		…
//	}
package deadletters

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
)

// Filter has the values that dead letters must have, by the name of the field. The zero
// value matches all.
type Filter map[string]string

// values return the values of a dead letter that filters compare.
var values = map[string]func(tasks.CallInfo) string{
	"batch":    func(c tasks.CallInfo) string { return c.Result.Batch },
	"key":      func(c tasks.CallInfo) string { return c.Result.Key },
	"upstream": func(c tasks.CallInfo) string { return c.Result.Upstream },
	"class":    func(c tasks.CallInfo) string { return c.Result.Class },
	"rule":     func(c tasks.CallInfo) string { return c.Result.Rule },
	"endpoint": func(c tasks.CallInfo) string { return c.Endpoint },
	"code":     func(c tasks.CallInfo) string { return noneIf(string(c.Result.ErrorCode), "") },
	"status":   func(c tasks.CallInfo) string { return noneIf(strconv.Itoa(c.Result.HTTPStatus), "0") },
}

// noneIf returns none for an absent value, as in policies.
func noneIf(value, absent string) string {
	if value == absent {
		return "none"
	}
	return value
}

// Keys are the names of the fields that a filter can have, sorted.
func Keys() []string { return slices.Sorted(maps.Keys(values)) }

// errPair is the error of Parse, without the text.
var errPair = errors.New("write KEY=VALUE")

// Parse reads KEY=VALUE. The error says what to write.
func Parse(text string) (key, value string, err error) {
	key, value, ok := strings.Cut(text, "=")
	if _, known := values[key]; !ok || !known {
		return "", "", fmt.Errorf("%w, with KEY one of %s", errPair, strings.Join(Keys(), ", "))
	}
	return key, value, nil
}

// Match reports whether a dead letter has all values.
func (f Filter) Match(c tasks.CallInfo) bool {
	for key, want := range f {
		if values[key](c) != want {
			return false
		}
	}
	return true
}

// Tally counts dead letters by their groups. The zero value is empty.
type Tally struct {
	// Total is how many were added.
	Total  int
	byName map[string]*tasks.DeadGroup
}

// Add adds a dead letter.
func (t *Tally) Add(c tasks.CallInfo) {
	r := c.Result
	name := tasks.DeadGroupName(r.Class, string(r.ErrorCode), c.Endpoint)
	if t.byName == nil {
		t.byName = map[string]*tasks.DeadGroup{}
	}
	group := t.byName[name]
	if group == nil {
		group = &tasks.DeadGroup{Name: name, Class: r.Class, Code: string(r.ErrorCode), Endpoint: c.Endpoint, Message: r.UserMessage, Advice: r.Advice}
		t.byName[name] = group
	}
	group.Count++
	t.Total++
}

// Groups returns the groups, the largest first.
func (t *Tally) Groups() []tasks.DeadGroup {
	groups := make([]tasks.DeadGroup, 0, len(t.byName))
	for _, g := range t.byName {
		groups = append(groups, *g)
	}
	slices.SortFunc(groups, func(a, b tasks.DeadGroup) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Name, b.Name))
	})
	return groups
}

// ParseRate parses a rate such as 50/s and returns the time between two calls. The error
// says what to write.
func ParseRate(text string) (time.Duration, error) {
	number, unit, _ := strings.Cut(text, "/")
	per := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}[unit]
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || per == 0 {
		return 0, errors.New("write a number and a unit of time, as in 50/s, 600/m or 1000/h")
	}
	return per / time.Duration(n), nil
}
