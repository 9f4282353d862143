package ledger

import (
	"slices"
	"sort"
	"time"

	"pgregory.net/rapid"
)

// modelDeadline is the deadline of the model's calls. It is never reached.
var modelDeadline = time.Now().Add(24 * time.Hour)

// markOne is the last step before a call that must not be sent twice is sent.
func (m *model) markOne(t *rapid.T) {
	k := m.live[drawTake(t, m.live)]
	_, applied, err := m.dispatcher.MarkSent(m.Context(), k, k.Attempts+1, true, "")
	if m.must(err); applied && !m.holds(k) {
		t.Fatalf("call %s was marked by a worker that does not hold it any more", k.ID)
	}
}

// passDeadlines makes the deadlines of some queues pass: every call that has one and
// that no worker holds ends, in one queue in as many steps as drawn.
func (m *model) passDeadlines(t *rapid.T) {
	queue := rapid.SampledFrom(modelQueues).Draw(t, "queue")
	m.makeDue(queue)
	late, err := m.dispatcher.PastDeadline(m.Context(), queue)
	m.must(err)
	var found []string
	list := make([]Withdrawal, len(late.Calls))
	for i, r := range late.Calls {
		found = append(found, r.ID)
		list[i] = expired(r)
		list[i].Final.Assumed = r.Sent > 0
	}
	var want []string
	for id, c := range m.calls {
		if c.queue == queue && c.state == Open && !c.deadline.IsZero() && m.places(queue, id)["lease"] == 0 {
			want = append(want, id)
		}
	}
	sort.Strings(found)
	sort.Strings(want)
	if !slices.Equal(found, want) {
		t.Fatalf("got calls past their deadline %v, want %v", found, want)
	}
	taken := ""
	if got := m.dequeue(queue); got.Delivery != nil { // between the search and the withdrawal
		m.took(t, got.Delivery)
		taken = got.Delivery.ID
	}
	for range rapid.IntRange(1, 2).Draw(t, "workers") {
		withdrawn, err := m.l.Withdraw(m.Context(), queue, list)
		m.must(err)
		for i := range list {
			want := Withdrew
			c := m.calls[list[i].ID]
			switch {
			case list[i].ID == taken:
				want = Taken
			case c.state != Open:
				want = MovedOn
			}
			if withdrawn[i] != want {
				t.Fatalf("withdrawing %s: got %d, want %d", list[i].ID, withdrawn[i], want)
			}
			if want == Withdrew {
				c.state, c.assumed = Dead, list[i].Final.Assumed
			}
		}
	}
}

// checkDeadlines compares the index with the model: it has the open calls with a
// deadline, and no others.
func (m *model) checkDeadlines(t *rapid.T) {
	for _, queue := range modelQueues {
		var want []string
		for id, c := range m.calls {
			if c.queue == queue && c.state == Open && !c.deadline.IsZero() {
				want = append(want, id)
			}
		}
		got := m.indexed(queue)
		sort.Strings(want)
		sort.Strings(got)
		if !slices.Equal(got, want) {
			t.Fatalf("the index of %s: got %v, want %v", queue, got, want)
		}
	}
}
