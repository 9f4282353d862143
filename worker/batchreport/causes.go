package batchreport

import (
	"cmp"
	"slices"
	"strings"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/jsonform"
)

// causes counts failed calls by cause.
type causes struct {
	all map[causeKey]*causeSum
	// failed is how many calls were counted.
	failed int64
}

type causeKey struct {
	state             ledger.State
	class, rule, code string
	status            int
}

type causeSum struct {
	Cause
	// latest are the calls that ended last, the latest first.
	latest []latest
}

type latest struct {
	Example
	queue string
}

func newCauses() *causes { return &causes{all: map[causeKey]*causeSum{}} }

// add counts a call that is dead or dropped; requests is how many were sent for it.
func (c *causes) add(r *ledger.Record, requests int64) {
	c.failed++
	e := r.Ending
	if e == nil {
		e = &ledger.Ending{} // another program removed it
	}
	key := causeKey{r.State, e.Class, e.Rule, e.Code, 0}
	if e.Code == "" {
		key.status = e.HTTPStatus
	}
	if c.all[key] == nil && len(c.all) >= maxCauses {
		key = causeKey{state: r.State, class: others}
	}
	sum := c.all[key]
	if sum == nil {
		sum = &causeSum{Cause: Cause{
			State: string(r.State), Class: key.class, Rule: key.rule, HTTPStatus: key.status, Code: jsonform.Code(key.code),
		}}
		c.all[key] = sum
	}
	sum.Count++
	one := latest{queue: r.Queue, Example: Example{
		Key: r.Key, ID: r.ID, Upstream: tasks.UpstreamOf(r.Queue), Message: e.Message, CorrelationID: e.CorrelationID, Requests: requests, FinishedAt: r.EndedAt,
	}}
	at, _ := slices.BinarySearchFunc(sum.latest, one, compareLatest)
	if at >= examples {
		return
	}
	sum.latest = slices.Insert(sum.latest, at, one)
	sum.latest = sum.latest[:min(len(sum.latest), examples)]
	if at == 0 {
		sum.UserMessage, sum.Advice, sum.Group = e.UserMessage, e.Advice, r.Group
	}
}

// compareLatest orders the call that ended last first.
func compareLatest(a, b latest) int {
	return cmp.Or(b.FinishedAt.Compare(a.FinishedAt), strings.Compare(a.Key, b.Key))
}

// list returns the causes, the most frequent first, with their examples.
func (c *causes) list() []*causeSum {
	list := make([]*causeSum, 0, len(c.all))
	for _, sum := range c.all {
		sum.Examples = make([]Example, len(sum.latest))
		for i, one := range sum.latest {
			sum.Examples[i] = one.Example
		}
		list = append(list, sum)
	}
	slices.SortFunc(list, func(a, b *causeSum) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.State, b.State), cmp.Compare(a.Class, b.Class), cmp.Compare(a.Code, b.Code),
			a.HTTPStatus-b.HTTPStatus, cmp.Compare(a.Rule, b.Rule))
	})
	return list
}
