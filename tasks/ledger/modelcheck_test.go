package ledger

import (
	"slices"
	"sort"

	"pgregory.net/rapid"
)

// check compares the ledger and asynq's lists with the model.
func (m *model) check(t *rapid.T) {
	want := map[string]*Counts{}
	var dead []string
	for id, c := range m.calls {
		r := m.record(c.queue, id)
		if r.State != c.state || r.Generation != c.gen || r.Batch != c.batch || r.Key != c.key || r.Purged != c.purged {
			t.Fatalf("got record %+v, want %+v", r, c)
		}
		if want[c.batch] == nil {
			want[c.batch] = &Counts{}
		}
		w := want[c.batch]
		w.Accepted++
		switch c.state {
		case Open:
			w.Open++
			places := m.places(c.queue, id)
			if on := places["pending"] + places["active"] + places["scheduled"] + places["retry"]; on != 1 || places["task"] != 1 || places["active"] != places["lease"] {
				t.Fatalf("open call %s: got places %v", id, places)
			}
		case Done:
			w.Done++
		case Dead:
			w.Dead++
			if !c.purged {
				dead = append(dead, id)
			}
		case Dropped:
			w.Dropped++
		case Cancelled:
			w.Cancelled++
		}
	}
	batches, err := m.l.Batches(m.Context())
	m.must(err)
	for _, b := range batches {
		c := b.Counts
		w := want[b.Name]
		if w == nil {
			w = &Counts{}
		}
		delete(want, b.Name)
		if !c.Balanced() || c.Accepted-c.Expired != w.Accepted || c.Open != w.Open || c.Dead-c.ExpiredDead != w.Dead ||
			c.Done+c.Dropped+c.Cancelled-(c.Expired-c.ExpiredDead) != w.Done+w.Dropped+w.Cancelled {
			t.Fatalf("batch %s: got counts %+v, want %+v", b.Name, c, *w)
		}
		if found := m.audit(b.Name); len(found) != 0 {
			t.Fatalf("audit found %+v", found)
		}
	}
	if len(want) > 0 {
		t.Fatalf("batches %v are not listed", want)
	}
	m.checkDead(t, dead)
	m.checkDeadlines(t)
}

func (m *model) checkDead(t *rapid.T, want []string) {
	var listed []string
	for r, err := range m.l.Dead(m.Context(), "") {
		m.must(err)
		listed = append(listed, r.ID)
	}
	sort.Strings(want)
	sort.Strings(listed)
	if !slices.Equal(listed, want) {
		t.Fatalf("got dead letters %v, want %v", listed, want)
	}
	var kept int64
	for _, queue := range modelQueues {
		kept += m.rdb.ZCard(m.Context(), keysOf(queue).dead()).Val()
	}
	if kept != int64(len(want)) {
		t.Fatalf("got %d ids in the lists of dead letters, want %d", kept, len(want))
	}
	groups, err := m.l.DeadGroups(m.Context())
	m.must(err)
	n := 0
	for _, g := range groups {
		if g.Count == 0 {
			t.Fatalf("got an empty group: %+v", g)
		}
		n += int(g.Count)
	}
	if n != len(want) {
		t.Fatalf("got %d dead letters in the groups, want %d", n, len(want))
	}
}
