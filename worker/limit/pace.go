package limit

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks/redislua"
)

// Pace is a limit of the API that the API's answers describe: how many calls are left, and
// when the limit starts afresh. lua/pace.lua describes how the fleet keeps to it.
type Pace struct {
	// Place is where the answers say what is left, for people: "header x-remaining".
	Place string
	// Keep is how many calls are left to other clients of the account.
	Keep int64
}

// PacesOf returns the limits that a policy reads from answers; none for nil.
func PacesOf(p *policy.Policy) []Pace {
	if p == nil {
		return nil
	}
	var paces []Pace
	for _, pace := range p.Paces() {
		paces = append(paces, Pace{Place: pace.Place, Keep: pace.Keep})
	}
	return paces
}

// paceKey begins the keys of paces. lua/answers.lua has it too.
const paceKey = "pace "

// key names the pace's state in Redis.
func (p Pace) key(i int) string { return fmt.Sprintf("%s%d %s", paceKey, i, p.Place) }

// OfAPI reports whether a rule's key is that of a [Pace].
func OfAPI(key string) bool { return strings.HasPrefix(key, paceKey) }

// text names the pace for people: "x-remaining of the API".
func (p Pace) text() string {
	text := strings.TrimPrefix(p.Place, "header ") + " of the API"
	if p.Keep > 0 {
		text += fmt.Sprintf(" (keep %d)", p.Keep)
	}
	return text
}

// Reading is what an answer says of a limit.
type Reading struct {
	// Pace is the index in the plan's Paces.
	Pace int
	// Remaining is how many calls the API still takes.
	Remaining int64
	// Reset is how long after the answer arrived the limit starts afresh.
	Reset time.Duration
}

// Answer is the answer to a call, or the end of one that got none.
type Answer struct {
	// Slot is the call's [Slot.At].
	Slot int64
	// Received is when the answer arrived, by this process's clock.
	Received time.Time
	// Readings is what the answer says, at most one for each pace; none where it does not
	// say.
	Readings []Reading
}

// maxReset is the longest time for which a reading can hold an account. Then a call finds
// out whether the answer was understood.
const maxReset = 25 * time.Hour

var scriptAnswers = redislua.Script(redislua.HoldLog(), redislua.Limited(), Source(), redislua.Read(sources, "answers"))

// Report records the answers to calls that had slots. It must be called once for every call
// that was sent under a plan with paces. Until then the call counts as one that the API may
// not have counted yet. Report returns whether a call may start that was refused before.
func (s *Store) Report(ctx context.Context, upstream string, p *Plan, answers []Answer) (freed bool, err error) {
	if p == nil || len(p.Paces) == 0 || len(answers) == 0 {
		return false, nil
	}
	now, size := time.Now(), 2+2*len(p.Paces)
	args := make([]any, 2, 2+size*len(answers)+2+9)
	args[0], args[1] = len(answers), len(p.Paces)
	for _, a := range answers {
		at := len(args)
		args = append(args, a.Slot, now.Sub(a.Received).Microseconds())
		for range p.Paces {
			args = append(args, -1, 0)
		}
		for _, r := range a.Readings {
			if r.Pace >= 0 && r.Pace < len(p.Paces) && r.Remaining >= 0 {
				args[at+2+2*r.Pace], args[at+3+2*r.Pace] = r.Remaining, max(min(r.Reset, maxReset), -maxReset).Microseconds()
			}
		}
	}
	reply, err := scriptAnswers.Run(ctx, s.rdb, scriptKeys(upstream), append(args, p.Args(now)...)...).Int()
	if err != nil {
		return false, fmt.Errorf("report what is left of the limits of %s: %w", upstream, err)
	}
	return reply == 1, nil
}
