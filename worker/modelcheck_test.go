package worker

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// ran checks what a worker's script has done. s.before has the circuits from before it
// ran.
func (f *fleet) ran(s *step, c command, cmd redis.Cmder) {
	var reply []any
	if whole, ok := cmd.(*redis.Cmd); ok {
		reply, _ = whole.Val().([]any)
	}
	f.log("%s: %s %v", s, c.kind, brief(c, reply))
	if f.lost > 0 || f.amnesia {
		s.blind = true
	}
	code := int64(-1)
	if len(reply) > 0 {
		code = integer(reply[0])
	}
	fmt.Fprintln(f.history, time.Now(), s, c.kind, code) // tokens in commands are drawn again each time
	account := s.before[modelAccount]
	switch c.kind {
	case "take":
		if code == 1 {
			f.taken(s, reply)
		}
	case "mark":
		f.markedTogether(s, c, reply, account)
	case "alone":
		if cmd.(*redis.Cmd).Val() == int64(1) {
			s.alone = time.Now()
			s.call.alones = append(s.call.alones, s)
		}
	case "admit":
		f.admitted(s, c, code)
	case "report":
		name := f.circuitOf(c.keys[0])
		if p := f.probes[name]; p != nil && c.args[1] == p.token {
			f.forgetProbe(name)
		}
		s.unspent = s.unspent || c.args[2] == "fault" && c.args[10] == "1" && !f.failedBeforeAGoodAnswer(s.call)
	case "end":
		f.ended(s, c, reply)
	case "attempt", "park":
		s.unknown = s.unknown && code != 1
		if code == 1 && s.arrival != nil && s.arrival.retryable && !s.arrival.resolved {
			s.arrival.resolved = true
			if parked(s.answer) || s.unspent {
				s.call.spent[s.delivery.Generation]--
			}
		}
	case "back slot":
		f.counters.giveBack(s.count)
	case "take slot", "reconcile slot", "an unknown script":
		f.broken("the model has no rule for %s", c.kind)
	}
	if !s.blind {
		for name, after := range f.lookAll() {
			f.moved(s, c, name, s.before[name], after)
		}
	}
}

// brief returns a command and its reply as text for the log of a failure.
func brief(c command, reply []any) string {
	if c.kind == "take" {
		text := fmt.Sprint(reply[:min(len(reply), 7)])
		for _, call := range reply[len(reply)-taken(reply):] {
			text += fmt.Sprint(unpack(call))
		}
		return text
	}
	text := fmt.Sprintf("%v: %v", c.args, reply)
	return text[:min(len(text), 250)]
}

func integer(v any) int64 {
	n, _ := strconv.ParseInt(fmt.Sprint(v), 10, 64)
	return n
}

func nowMilli() int64 { return time.Now().UnixMilli() }

func (f *fleet) circuitOf(key string) string {
	for _, name := range f.circuits {
		if f.key(name) == key {
			return name
		}
	}
	return modelUnlisted
}

// taken returns how many calls a take has returned.
func taken(reply []any) int {
	if integer(reply[0]) != 1 {
		return 0
	}
	return len(reply) - 8
}

// takenCall is a call in the reply to a take, without its message and record.
type takenCall struct {
	id                               string
	queue, starts, slot, wait, money int64
}

// unpack reads a call as the function pack of the ledger's pack.lua writes it.
func unpack(packed any) takenCall {
	rest := packed.(string)
	text := func() string {
		n := binary.LittleEndian.Uint32([]byte(rest[:4]))
		found := rest[4 : 4+n]
		rest = rest[4+n:]
		return found
	}
	n := strings.Fields(text())
	number := func(i int) int64 { return integer(n[i]) }
	text() // the message
	return takenCall{text(), number(1), number(2), number(3), number(4), number(5)}
}

// taken checks that the calls could be taken now. s is the step of the first of them.
func (f *fleet) taken(s *step, reply []any) {
	account, now := s.before[modelAccount], nowMilli()
	afterHold := integer(reply[2]) == 1
	for i := range taken(reply) {
		call := unpack(reply[8+i])
		one := s
		if i > 0 {
			one = f.newStep(s.proc, "take")
			s.along = append(s.along, one)
		}
		f.takenOne(one, call)
		switch {
		case s.blind:
		case account.open && now < account.until:
			f.broken("%s was taken while the account was held: %+v", call.id, account)
		case account.open && account.turn > now:
			f.broken("%s was taken at the same time as the probe: %+v", call.id, account)
		case account.open != afterHold, afterHold && i > 0:
			f.broken("%s: after a hold %v, but the account was %+v", call.id, afterHold, account)
		}
	}
	if n := f.leases(); n > int64(f.account.concurrency) {
		f.broken("%d calls are in flight, want at most %d", n, f.account.concurrency)
	}
}

func (f *fleet) takenOne(s *step, call takenCall) {
	id, queue := call.id, tasks.Queues(modelUpstream)[call.queue-1]
	s.call = f.calls[id]
	s.foundUnknown = s.call.unknown(int(f.number(f.record(id), "gen")))
	if f.paused[queue] {
		f.broken("%s was taken from the queue %s, which an operator paused", id, queue)
	}
	if s.call.queue != queue {
		f.broken("%s was taken from %s, want from %s", id, queue, s.call.queue)
	}
	s.count = f.counters.take(call.slot, call.money)
	f.counters.checkMost(f)
}

// markedTogether checks marks that went to Redis together: that of s, which makes them, and
// those of other steps of its worker that wait for it.
func (f *fleet) markedTogether(s *step, c command, reply []any, account circuitLook) {
	for at := 3; at < len(c.args); at += 9 {
		args := c.args[at : at+9]
		if integer(reply[2*(at-3)/9]) != 1 {
			continue
		}
		for _, one := range f.steps {
			if one != s && (one.proc != s.proc || one.paused || one.over) || one.delivery == nil || one.delivery.ID != args[0] {
				continue
			}
			if args[3] == "" && !s.blind && (account.open || fmt.Sprint(account.epoch) != args[4]) {
				f.broken("%s was marked in epoch %s; the account was %+v", one, args[4], account)
			}
			one.marked = true
			if args[2] != "" {
				one.once, one.unknown = true, true
				one.call.marks = append(one.call.marks, one)
			}
			f.sends(one)
		}
	}
}

// ended checks endings that went to Redis together: those of s, which writes them, and
// those of other steps of its worker that wait for it.
func (f *fleet) ended(s *step, c command, reply []any) {
	at := 5
	for _, applied := range reply[1:] {
		to := at + 5 + int(integer(c.args[at+4]))
		unknown := strings.Contains(fmt.Sprint(c.args[at:to]), string(policy.ClassOutcomeUnknown))
		for _, one := range f.steps {
			own := one == s || one.proc == s.proc && !one.paused && !one.over
			if !own || one.delivery == nil || one.delivery.ID != c.args[at] || integer(applied) != 1 {
				continue
			}
			f.checkCrashLoop(one, c.args[at:to])
			if one.arrival == nil && unknown && !one.foundUnknown && !f.amnesia {
				f.broken("%s ended as outcome_unknown, though the outcome of every send was known", one)
			}
		}
		at = to
	}
}

// leases counts the calls in flight: those whose lease has not ended.
func (f *fleet) leases() int64 {
	var n int64
	for _, queue := range tasks.Queues(modelUpstream) {
		n += f.client.ZCount(f.ctx, asynqKey(queue, "lease"), fmt.Sprint(time.Now().Unix()), "+inf").Val()
	}
	return n
}

// admitted checks a circuit's reply to a call that asked for admission.
func (f *fleet) admitted(s *step, c command, reply int64) {
	name, now := f.circuitOf(c.keys[0]), nowMilli()
	before := s.before[name]
	if reply != 1 && reply != 2 {
		return
	}
	if name == modelAccount {
		s.account = true
	} else {
		s.endpoint = true
	}
	if reply == 1 {
		if before.open && !s.blind {
			f.broken("%s was admitted by circuit %s, which was %+v", s, name, before)
		}
		return
	}
	if !before.open || now < before.until {
		f.broken("%s became the probe of circuit %s, which was %+v", s, name, before)
	}
	if p := f.probes[name]; p != nil && now < p.end && !s.blind {
		f.broken("%s became the probe of circuit %s beside another: %+v", s, name, before)
	}
	lease, _ := strconv.ParseInt(c.args[1], 10, 64)
	f.probes[name] = &probe{token: c.args[0], end: now + lease}
}

// moved checks how a worker's script has changed a circuit.
func (f *fleet) moved(s *step, c command, name string, before, after circuitLook) {
	wrong := func(what string) {
		f.broken("%s: %s %s circuit %s: it was %+v and is %+v", s, brief(c, nil), what, name, before, after)
	}
	own := c.kind == "report" && f.circuitOf(c.keys[0]) == name
	if own && c.args[2] == "error" {
		f.stopped(s, c, before, after, wrong)
	}
	if after.epoch == before.epoch {
		if after.open != before.open || after.rung != before.rung || before.open && after.until < before.until {
			wrong("changed, without a new epoch,")
		}
		return
	}
	if c.kind == "restore" {
		return
	}
	if !own || after.epoch != before.epoch+1 {
		wrong("changed the epoch of")
		return
	}
	same := c.args[0] == fmt.Sprint(before.epoch)
	probe := c.args[1] != "" && (c.args[1] == before.token || same && before.token == "unknown")
	switch verdict := c.args[2]; {
	case before.open && !probe:
		wrong("without being its probe changed")
	case !before.open && (verdict != "error" || !same || after.rung != 1):
		wrong("without an error of its epoch, or on a wrong rung, opened")
	case verdict == "error" && before.open && after.hold != before.hold && (!after.open || after.rung != 1):
		wrong("as its probe met another error and did not take the first rung of")
	case verdict == "error" && before.open && after.hold == before.hold && (!after.open || after.rung != before.rung+1):
		wrong("as its probe did not take the next rung of")
	case verdict == "fault" && (!after.open || after.rung != before.rung):
		wrong("as its probe met a fault and did not stay on the rung of")
	case verdict == "answer" && after.open:
		wrong("as its probe did not close")
	}
	if after.open && after.until <= nowMilli() {
		wrong("opened, for no time at all,")
	}
	if after.open {
		f.rungs++
	}
}

// stopped checks that an error that opens this circuit stops the fleet, for as long as the
// server said.
func (f *fleet) stopped(s *step, c command, before, after circuitLook, wrong func(string)) {
	same := c.args[0] == fmt.Sprint(before.epoch)
	if !before.open && same && c.args[3] == "1" && !after.open {
		wrong("did not open")
	}
	if s.arrival == nil || s.answer != "quota until" || c.args[4] != "1" {
		return
	}
	until := s.arrival.answeredAt.Add(90 * time.Second).UnixMilli()
	if nowMilli() < until && after.until < until && (!before.open && same || before.open && nowMilli() < before.until) {
		wrong("did not hold as long as the server said")
	}
}

// unknown reports whether a worker has sent the call and not recorded the outcome.
func (c *modelCall) unknown(generation int) bool {
	return slices.ContainsFunc(c.marks, func(s *step) bool { return s.unknown && s.delivery.Generation == generation })
}

// sends records that an attempt may be on its way.
func (f *fleet) sends(s *step) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !s.sends {
		s.sends = true
		s.call.spent[s.delivery.Generation]++
		s.call.sent[s.delivery.Generation]++
	}
}

// arrive records that a request arrives at the API.
func (f *fleet) arrive(s *step) {
	f.logEvent("%s: arrives", s)
	f.sends(s)
	f.checkAlone(s)
	delivery := s.delivery
	switch {
	case delivery.Circuit.AfterHold && !s.account:
		f.broken("%s was sent after a hold without having asked the account's circuit", s)
	case delivery.Circuit.Endpoints > 0 && !s.endpoint:
		f.broken("%s was sent without having asked its endpoint's circuit", s)
	case s.mustMark && !s.marked:
		f.broken("%s waited for its slot and was sent without asking again", s)
	case !s.call.idempotent && !s.once:
		f.broken("%s may not be sent twice and was sent without a mark", s)
	case delivery.Slot > time.Now().Add(time.Millisecond).UnixMicro():
		f.broken("%s was sent %d µs before its slot", s, delivery.Slot-time.Now().UnixMicro())
	}
	for _, earlier := range s.call.arrivals {
		if !s.call.idempotent && earlier.generation == delivery.Generation && !earlier.resolved {
			f.broken("%s may not be sent twice and was", s)
		}
	}
	s.arrival = &arrival{generation: delivery.Generation}
	s.call.arrivals = append(s.call.arrivals, s.arrival)
}

// check checks what must be true after every step.
func (f *fleet) check(t *rapid.T) {
	all := f.lookAll()
	openEndpoints := int64(0)
	for name, c := range all {
		if c.open && name != modelAccount {
			openEndpoints++
		}
		if c.epoch < f.epochs[name] && (name != modelAccount || f.lost == 0) && !f.amnesia {
			f.broken("the epoch of circuit %s went from %d to %d", name, f.epochs[name], c.epoch)
		}
		f.epochs[name] = max(c.epoch, f.epochs[name])
	}
	f.lostOnce = f.lostOnce || f.lost > 0
	if n := all[modelAccount].endpoints; n != openEndpoints && !f.lostOnce {
		f.broken("the account counts %d open circuits of endpoints, want %d", n, openEndpoints)
	}
	for _, queue := range tasks.Queues(modelUpstream) {
		if f.mini.Exists(asynqKey(queue, "paused")) != f.paused[queue] {
			f.broken("queue %s: got paused %v, want %v", queue, !f.paused[queue], f.paused[queue])
		}
	}
	for _, id := range f.ids {
		r := f.record(id)
		if n, most := f.number(r, "attempts"), f.sentAtMost(f.calls[id], int(f.number(r, "gen"))); n > int64(most) {
			f.broken("call %s counts %d attempts, and %d sends were not answered with a park", id, n, most)
		}
	}
	f.counters.checkKept(f)
	if len(f.problems) > 0 {
		t.Fatalf("%v\n%s", f.problems, f.describe())
	}
}

// checkLedger checks the ledger at the end.
func (f *fleet) checkLedger() {
	b, err := f.ledger.Batch(f.ctx, modelBatch)
	f.must(err)
	if !b.Counts.Balanced() || b.Counts.Open != 0 || int(b.Counts.Accepted) != len(f.ids) {
		f.rt.Fatalf("got counts %+v, want %d calls accepted and none open", b.Counts, len(f.ids))
	}
	found, err := f.ledger.Audit(f.ctx, modelBatch, tasks.TaskID)
	f.must(err)
	if len(found) > 0 {
		f.rt.Fatalf("audit: got %+v, want nothing", found)
	}
	for _, id := range f.ids {
		c := f.calls[id]
		r, err := f.ledger.Get(f.ctx, c.queue, id)
		f.must(err)
		if r.Attempts > f.sentAtMost(c, r.Generation) {
			f.rt.Fatalf("call %s counts %d attempts, and %d sends were not answered with a park\n%s", id, r.Attempts, c.spent[r.Generation], f.describe())
		}
		if r.State != ledger.Done || len(c.arrivals) == 0 {
			f.rt.Fatalf("call %s was made %d times and is %s; the API answers well, want it done\n%s", id, len(c.arrivals), r.State, f.describe())
		}
	}
}
