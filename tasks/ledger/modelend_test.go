package ledger

import (
	"slices"

	"pgregory.net/rapid"
)

func (m *model) endOne(t *rapid.T) {
	k, live := m.pop(t)
	m.endWith(t, k, live)
	m.ended = append(m.ended, k)
}

// endAgain repeats an ending, as a script that is sent again or a late answer does.
func (m *model) endAgain(t *rapid.T) {
	m.endWith(t, m.ended[drawTake(t, m.ended)], false)
}

func (m *model) endWith(t *rapid.T, k *Delivery, live bool) {
	e := m.ending(t, k, live)
	_, applied, err := m.dispatcher.End(m.Context(), k, e.final, nil)
	m.must(err)
	m.hasEnded(t, e, applied)
}

// endTogether ends calls of one queue in one step, whichever workers hold them.
func (m *model) endTogether(t *rapid.T) {
	together := map[string][]modelEnding{}
	for range rapid.IntRange(2, 5).Draw(t, "calls") {
		if len(m.live)+len(m.late) == 0 {
			break
		}
		k, live := m.pop(t)
		m.ended = append(m.ended, k)
		if slices.ContainsFunc(together[k.Queue], func(e modelEnding) bool { return e.take.ID == k.ID }) {
			continue // the same call is never twice in one step
		}
		together[k.Queue] = append(together[k.Queue], m.ending(t, k, live))
	}
	for _, queue := range modelQueues {
		var list []*closing
		for _, e := range together[queue] {
			one, err := closingOf(e.take, e.final, nil)
			m.must(err)
			list = append(list, one)
		}
		if len(list) > 0 {
			m.dispatcher.finish(m.Context(), &endScript{}, queue, list)
		}
		for i, e := range together[queue] {
			m.must(list[i].err)
			m.hasEnded(t, e, list[i].applied)
		}
	}
}

// modelEnding is an ending before it is recorded, and whether it should be applied.
type modelEnding struct {
	take       *Delivery
	final      Final
	live, want bool
}

func (m *model) ending(t *rapid.T, k *Delivery, live bool) modelEnding {
	f := finalOf(rapid.SampledFrom([]State{Done, Dropped, Dead}).Draw(t, "state"))
	f.Assumed = f.State == Dead && rapid.Bool().Draw(t, "assumed")
	if f.State == Dead {
		f.Group.Code = rapid.SampledFrom([]string{"1", "2"}).Draw(t, "code")
	}
	c := m.call(k)
	want := m.holdsLease(k) || c != nil && c.state == Dead && c.assumed && !f.Assumed
	return modelEnding{take: k, final: f, live: live, want: want}
}

func (m *model) hasEnded(t *rapid.T, e modelEnding, applied bool) {
	k, f := e.take, e.final
	if applied != e.want {
		t.Fatalf("ending %s as %s: %v, want %v", k.ID, f.State, applied, e.want)
	}
	if applied {
		c := m.call(k)
		c.state, c.assumed = f.State, f.Assumed
	}
	if e.live && f.State == Dead {
		m.fixture.archive(k)
	}
}
