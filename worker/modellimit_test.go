package worker

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/worker/limit"
)

// counters are the limits as the model counts them: by the slots that were taken
// and not returned.
type counters struct {
	rules []rule
	taken []*counted
	// unknown reports that Redis has lost some of them.
	unknown bool
}

// rule is one limit, as the scripts get it.
type rule struct {
	kind, key string
	// most is how many calls, or how much money, a window allows.
	most, price int64
	// period is that of a window.
	period time.Duration
	// interval is microseconds from slot to slot, burst how many at once.
	interval float64
	burst    int64
	// slack is how many calls more than most a window may have, because calls from before
	// an operator's reset are in flight.
	slack int64
}

// counted is a slot that a call took.
type counted struct {
	slot, money int64
	back        bool
	// forgotten are the rules that an operator has reset since.
	forgotten []string
}

func newCounters(plan *limit.Plan) *counters {
	c := &counters{}
	args := plan.Args(time.Now())
	for rest := args[2:]; len(rest) > 0; rest = rest[9:] {
		r := rule{kind: fmt.Sprint(rest[0]), key: fmt.Sprint(rest[1])}
		if r.kind == "rate" {
			_, _ = fmt.Sscan(fmt.Sprint(rest[3]), &r.interval)
			r.burst = integer(rest[4])
		} else {
			r.most, r.price = integer(rest[3]), integer(rest[4])
			r.period = time.Hour
			if strings.HasSuffix(fmt.Sprint(rest[2]), "/day") {
				r.period = 24 * time.Hour
			}
		}
		c.rules = append(c.rules, r)
	}
	return c
}

func (c *counters) take(slot, money int64) *counted {
	n := &counted{slot: slot, money: money}
	c.taken = append(c.taken, n)
	return n
}

func (c *counters) giveBack(n *counted) {
	n.back = true
}

// forget resets a limit, as when an operator closes an account that the limit holds.
func (c *counters) forget(key string) {
	for i, r := range c.rules {
		if r.key != key || r.kind == "rate" {
			continue
		}
		for _, n := range c.taken {
			n.forgotten = append(n.forgotten, key)
			if !n.back {
				c.rules[i].slack++
			}
		}
	}
}

// used returns how much of a rule's window is used.
func (c *counters) used(r rule, start time.Time) int64 {
	var used int64
	for _, n := range c.taken {
		if !n.back && !slices.Contains(n.forgotten, r.key) && time.UnixMicro(n.slot).UTC().Truncate(r.period).Equal(start) {
			used += r.price
		}
	}
	return used
}

// checkMost checks that the slot that was taken last exceeds no limit.
func (c *counters) checkMost(f *fleet) {
	if c.unknown {
		return
	}
	last := c.taken[len(c.taken)-1]
	for _, r := range c.rules {
		if r.kind != "rate" {
			start := time.UnixMicro(last.slot).UTC().Truncate(r.period)
			if used := c.used(r, start); used > r.most+r.slack*r.price {
				f.broken("%s: %d were taken of the window that starts at %s, want at most %d", r.key, used, start, r.most)
			}
			continue
		}
		var slots []int64
		for _, n := range c.taken {
			if !n.back {
				slots = append(slots, n.slot)
			}
		}
		slices.Sort(slots)
		for i := range slots {
			for j := i + int(r.burst); j < len(slots); j++ {
				if least := float64(j-i+1-int(r.burst)) * r.interval; float64(slots[j]-slots[i]) < least-10 {
					f.broken("%s: %d slots within %d µs", r.key, j-i+1, slots[j]-slots[i])
				}
			}
		}
	}
}

// checkKept checks that Redis counts the same for each window as the model: the slots that
// were taken and not returned.
func (c *counters) checkKept(f *fleet) {
	if c.unknown {
		return
	}
	state := limit.Keys(modelUpstream)[0]
	for _, r := range c.rules {
		at := f.hget(state, "s:"+r.key)
		if r.kind == "rate" || at == "" {
			continue
		}
		start := time.UnixMilli(integer(at)).UTC()
		if !time.Now().Before(start.Add(r.period)) {
			continue // it is over
		}
		kept, used := f.number(state, "n:"+r.key), c.used(r, start)
		if kept > used || kept < used-r.slack*r.price {
			f.broken("%s: Redis counts %d in the window that begins at %s, and %d were taken and not returned", r.key, kept, start, used)
		}
	}
}
