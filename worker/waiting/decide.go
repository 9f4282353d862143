package waiting

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisinfo"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

// minReportedLimit is the shortest hold of a limit that counts as a reason: the holds of
// rates are over before a person has read about them.
const minReportedLimit = 5 * time.Second

// Decide returns the reasons why calls wait, for each upstream the one that stops the
// most calls first. There are none where calls are made or no call is open.
func Decide(f Facts) []Reason {
	if f.Redis != nil {
		return []Reason{redisReason(f.Redis)}
	}
	var list []Reason
	for _, u := range f.Upstreams {
		list = append(list, decide(u, f)...)
	}
	var here []Reason
	if f.Skew.Abs() > redisinfo.MaxSkew {
		side := "ahead of"
		if f.Skew < 0 {
			side = "behind"
		}
		here = append(here, Reason{
			Kind: Clock, Why: fmt.Sprintf("this machine's clock is %s %s Redis's, and it takes no calls", f.Skew.Abs().Round(time.Second), side),
			Ends: "it ends when they agree", Todo: "set both by NTP, for example with timedatectl set-ntp true",
		})
	}
	return append(here, list...)
}

// redisReason is the reason for an error of Redis.
func redisReason(err error) Reason {
	r := Reason{Kind: Redis, Why: strings.TrimSpace(err.Error()), Ends: "it ends when Redis answers again"}
	if explained := (*redisinfo.Error)(nil); errors.As(err, &explained) {
		r.Why, r.Todo = joinNotEmpty(" ", "Redis", at(explained.Where))+": "+explained.Problem, explained.Advice
	}
	return r
}

func at(where string) string {
	if where == "" {
		return ""
	}
	return "at " + where
}

func (u Upstream) pending() (n int64) {
	for _, q := range u.Queues {
		n += q.Pending
	}
	return n
}

// sum adds up the queues of an upstream.
func (u Upstream) sum() (all ledger.Waits) {
	for _, q := range u.Queues {
		if !q.Paused {
			all.Pending += q.Pending
			all.Oldest = earlier(all.Oldest, q.Oldest)
		}
		all.Active += q.Active
		all.Overdue += q.Overdue
		all.OverdueAt = earlier(all.OverdueAt, q.OverdueAt)
		if all.Retry.Message == "" || q.Retry.First.Before(all.Retry.First) {
			all.Retry.Message = q.Retry.Message
		}
		all.Retry = together(all.Retry, q.Retry)
		all.Scheduled = together(all.Scheduled, q.Scheduled)
	}
	return all
}

func together(a, b ledger.Delayed) ledger.Delayed {
	a.N += b.N
	a.First = earlier(a.First, b.First)
	if b.Last.After(a.Last) {
		a.Last = b.Last
	}
	return a
}

// earlier returns the earlier of two times; a zero time counts as none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func decide(u Upstream, f Facts) []Reason {
	all := u.sum()
	queued := u.pending() + all.Retry.N + all.Scheduled.N
	if u.Open == 0 || u.Open < 0 && queued+all.Active == 0 {
		return nil
	}
	d := decider{u: u, now: f.Now, facts: f, where: f.Where, all: all}
	if u.Workers == 0 && all.Active-all.Overdue <= 0 {
		// Nothing else matters until a worker makes its calls.
		return append([]Reason{d.noWorker(queued + all.Active)}, d.notBefore(true)...)
	}
	d.addPaused()
	stopped := d.addMemory()
	stopped = d.addAccount() || stopped
	flows := all.Pending > 0 && !stopped
	d.addFences()
	d.addOrphaned()
	if !stopped {
		d.addConcurrency()
		d.addEndpoints()
	}
	d.addBackoff(flows)
	d.list = append(d.list, d.notBefore(flows)...)
	return d.list
}

// decider is the decision about one upstream.
type decider struct {
	u     Upstream
	now   time.Time
	facts Facts
	where string // see Facts
	all   ledger.Waits
	list  []Reason
}

// command returns a command of callq with the flags that find the same Redis.
func (d *decider) command(words string) string { return "callq " + words + d.where }

// closeCommand returns the command that closes a circuit.
func (d *decider) closeCommand(name circuit.Name) string {
	return d.command(fmt.Sprintf("circuit close '%s' --reason REASON", name))
}

func (d *decider) add(r Reason) {
	if r.Name == "" {
		r.Name = d.u.Name
	}
	if d.u.Open >= 0 {
		r.Calls = min(r.Calls, d.u.Open)
	}
	d.list = append(d.list, r)
}

// noWorker is the reason that no worker makes the upstream's calls.
func (d *decider) noWorker(n int64) Reason {
	r := Reason{Kind: NoWorker, Name: d.u.Name, Calls: n, Since: d.all.Oldest}
	if d.u.Open >= 0 {
		r.Calls = min(r.Calls, d.u.Open)
	}
	switch {
	case !d.u.Configured && d.u.Others > 0:
		r.Kind, r.Why = NoUpstream, fmt.Sprintf("no worker, including this process, has the upstream %s in its configuration", d.u.Name)
	case !d.u.Configured:
		r.Kind, r.Why = NoUpstream, fmt.Sprintf("this configuration has no upstream %s, and no worker makes its calls", d.u.Name)
	case d.u.Others > 0:
		r.Why = fmt.Sprintf("workers are running, but none has the upstream %s in its configuration", d.u.Name)
	default:
		r.Why = "no worker is running"
	}
	if r.Kind == NoUpstream {
		r.Todo = fmt.Sprintf("put %s under upstreams in callq.yaml again, or cancel the calls with %s", d.u.Name, d.command("batch cancel NAME"))
	} else {
		r.Todo = "start one with " + d.command("work")
	}
	r.Ends = "it ends when a worker makes them"
	return r
}

// addPaused adds the queues that an operator has paused.
func (d *decider) addPaused() {
	for _, q := range d.u.Queues {
		if q.Paused && q.Pending > 0 {
			d.add(Reason{
				Kind: Paused, Calls: q.Pending, Since: q.PausedAt, Why: fmt.Sprintf("the queue %s is paused by an operator", q.Queue),
				Ends: "it ends when it is resumed", Todo: "resume it where it was paused (asynqmon)",
				Some: d.all.Pending > 0,
			})
		}
	}
}

// addMemory adds that the results in Redis have reached ledger.max_memory. It returns
// whether they have.
func (d *decider) addMemory() bool {
	if d.facts.MaxMemory == 0 || d.facts.Bodies < d.facts.MaxMemory {
		return false
	}
	if d.all.Pending > 0 {
		d.add(Reason{
			Kind: Memory, Calls: d.all.Pending, Since: d.facts.FullSince,
			Why:  fmt.Sprintf("the results in Redis take %s, and ledger.max_memory is %s", SizeText(d.facts.Bodies), SizeText(d.facts.MaxMemory)),
			Ends: "it ends when results are exported to a file, or their retention is over",
			Todo: fmt.Sprintf("export batches with %s, delete those that are no longer needed with %s, or raise ledger.max_memory",
				d.command("batch export NAME -o FILE"), d.command("batch delete NAME")),
		})
	}
	return true
}

// SizeText writes a number of bytes for people: "1.5 GiB".
func SizeText(n int64) string {
	units := []string{"bytes", "KiB", "MiB", "GiB", "TiB"}
	size, unit := float64(n), 0
	for ; size >= 1024 && unit < len(units)-1; unit++ {
		size /= 1024
	}
	return strings.TrimSuffix(strconv.FormatFloat(size, 'f', 1, 64), ".0") + " " + units[unit]
}

// addAccount adds what holds the whole account. It returns whether anything does.
func (d *decider) addAccount() bool {
	r := d.u.Account
	limited := r.Limited.Sub(d.now) >= minReportedLimit
	if r.State != circuit.Open && !limited {
		return false
	}
	if d.all.Pending == 0 {
		return true // the calls that wait are delayed, and have reasons of their own
	}
	if r.State == circuit.Open {
		d.add(d.circuitReason(r, d.all.Pending))
	}
	if limited {
		kind := Limit
		if r.LimitedBy == "budget" {
			kind = Budget
		}
		why := strings.TrimSpace(string(kind) + " " + r.LimitedText)
		reason := Reason{
			Kind: kind, Calls: d.all.Pending, Until: r.Limited, Why: "the " + why + " allows calls one by one",
			Ends: "then the next call starts", Some: true,
		}
		if r.LimitTurns {
			reason.Why, reason.Ends, reason.Some = "the "+why+" is used up", "then calls start again", false
			reason.Todo = "if the API allows more, reset the count with " + d.closeCommand(r.Name)
			if r.LimitOfAPI {
				reason.Todo = "if the API allows more by now, let the next calls find out with " + d.closeCommand(r.Name)
			}
		}
		d.add(reason)
	}
	return r.State == circuit.Open || r.LimitTurns
}

// circuitReason returns why an open circuit holds n calls.
func (d *decider) circuitReason(r circuit.Record, n int64) Reason {
	reason := Reason{
		Kind: Hold, Name: r.Name.String(), Calls: n, Since: r.Since, Until: r.Until,
		Why: "held (" + joinNotEmpty(": ", r.Reason, saidBy(r)) + ")", Ends: "then one call tests whether it works again",
	}
	closeIt := d.closeCommand(r.Name)
	switch policy.Class(r.Class) {
	case policy.ClassAuth:
		reason.Todo = "renew the credential, or correct auth of the upstream; then " + closeIt
	case policy.ClassBalance:
		reason.Todo = "top the account up; then " + closeIt
	case policy.ClassConfig:
		reason.Todo = "correct base_url, tls or auth of the upstream in callq.yaml; then " + closeIt
	default:
		reason.Todo = "wait, or " + closeIt
	}
	switch {
	case r.Name.Endpoint != "":
		reason.Kind = Endpoint
	case policy.Class(r.Class) == policy.ClassConfig:
		reason.Kind = Unreachable
	}
	switch {
	case r.Probing:
		reason.Why += ", a probe is in progress"
		reason.Ends, reason.Until = "its answer decides", time.Time{}
		if reason.Kind == Hold {
			reason.Kind = Probe
		}
	case !r.Until.After(d.now):
		reason.Ends, reason.Until = "the next call tests whether it works again", time.Time{}
	}
	return reason
}

// saidBy returns why a circuit is open, in the words of the API or of an operator.
func saidBy(r circuit.Record) string {
	if r.Note != "" {
		return joinNotEmpty(": ", r.Who, r.Note)
	}
	return WhyHeld(r)
}

// WhyHeld returns the API's answer that opened a circuit, preceded by the fault that its last
// probe met, if any.
func WhyHeld(r circuit.Record) string {
	if r.Fault != "" {
		return "the probe failed with " + r.Fault + "; held for " + AnswerText(r)
	}
	return AnswerText(r)
}

// AnswerText returns the API's answer that opened a circuit.
func AnswerText(r circuit.Record) string {
	said := joinNotEmpty(": ", joinNotEmpty(" ", r.Class, r.Code), r.Message)
	if r.CorrelationID != "" {
		said += "; x-correlation-id " + r.CorrelationID
	}
	return said
}
