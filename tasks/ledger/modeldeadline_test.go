package ledger

import (
	"slices"
	"sort"
	"time"

	"pgregory.net/rapid"
)

// modelDeadline is the deadline of the model's calls. It never comes by itself.
var modelDeadline = time.Now().Add(24 * time.Hour)

// markOne is the last step before a call that must not be sent twice goes out.
func (m *model) markOne(t *rapid.T) {
	k := m.live[drawTake(t, m.live)]
	_, applied, err := m.dispatcher.MarkSent(m.Context(), k, k.Attempts+1, true, "")
	if m.must(err); applied && !m.holds(k) {
		t.Fatalf("call %s may go out, though its worker has lost it", k.ID)
	}
}

// passDeadlines has the deadlines of some queues pass: whatever has one and is in no
// worker's hands ends, in one queue as often as somebody asks.
func (m *model) passDeadlines(t *rapid.T) {
	queue := rapid.SampledFrom(modelQueues).Draw(t, "queue")
	m.lookAgain(queue)
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
		t.Fatalf("past their deadline are %v, the model says %v", found, want)
	}
	taken := ""
	if got := m.dequeue(queue); got.Delivery != nil { // between the look and the ending
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
				t.Fatalf("ending %s at its deadline: %d, want %d", list[i].ID, withdrawn[i], want)
			}
			if want == Withdrew {
				c.state, c.assumed = Dead, list[i].Final.Assumed
			}
		}
	}
}

// checkDeadlines holds the index against the model: it has the open calls that have a
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
			t.Fatalf("the index of %s has %v, the model says %v", queue, got, want)
		}
	}
}
