package ledger

import (
	"errors"
	"math"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/tasks/redislua"
)

// Delivery is a call that a worker has taken, as the dequeue found it.
type Delivery struct {
	Record
	// Message is asynq's encoding of the task.
	Message string
	// At is Redis's clock when the call was taken. Asked and Received are this
	// process's clock when it sent the request and when it got the reply.
	At, Asked, Received time.Time
	// Known is false when the task has no record, or one without a batch: another
	// program put it there.
	Known bool
	// Circuit is the account's circuit, read by the same script.
	Circuit CircuitView
	// Slot is the call's slot under its account's limits, in microseconds since 1970 by
	// Redis's clock; 0 without limits. Due is the same by the clock of this process,
	// zero if the slot is now. Money is what was reserved, in millionths.
	Slot  int64
	Due   time.Time
	Money int64
	// Corrupt names a field of the record that callq cannot have written; empty if
	// there is none. See [Repairer.Repair].
	Corrupt string
	// Token distinguishes this delivery of the call from any later one: a worker that
	// does not hold the call any more must not put it back.
	Token int64
	// Mark distinguishes the mark of this delivery's send from that of another one, or
	// is that of an earlier one which the record had when the call was taken; empty if
	// there is none.
	Mark string
	// MaybeSent is how many requests earlier workers may have sent, at most, that took the
	// call and recorded nothing. It is written with what becomes of this delivery.
	MaybeSent int
	// Verifying reports that the API is asked whether the call took effect: the counts of
	// that, and Sent, are written with the next attempt.
	Verifying bool
	// number is the number of the mark that this delivery has made; 0: none.
	number int64
}

// CircuitView is what a dequeue returns about the account's circuit.
type CircuitView struct {
	// Epoch is the circuit's epoch that admitted the call.
	Epoch int64
	// AfterHold reports that a hold is over and this one call was delivered: it must
	// not be made without the probe.
	AfterHold bool
	// Streak is how many account failures came in a row; any other answer resets it.
	Streak int
	// Endpoints is how many circuits of single endpoints are not closed.
	Endpoints int
	// Held is how long the account was held in total, until now.
	Held time.Duration
	// AllRefused reports, for the one call that was delivered after a hold, that every
	// waiting call has been refused since the account's last good answer.
	AllRefused bool
	// Convicted names the calls that end when their turn comes, since they are refused
	// whatever the account's state; see worker/circuit.
	Convicted string
}

// deliveriesFrom reads the calls in the reply of the script that takes calls from queues.
func deliveriesFrom(queues []string, asked time.Time, reply []any) ([]*Delivery, error) {
	received, at := time.Now(), time.UnixMilli(redislua.Number(reply[1])).UTC()
	circuit := CircuitView{
		AfterHold: redislua.Number(reply[2]) == 1, Epoch: redislua.Number(reply[3]), Streak: int(redislua.Number(reply[4])),
		Endpoints: int(redislua.Number(reply[5])), Held: time.Duration(redislua.Number(reply[6])) * time.Millisecond,
		Convicted: redislua.Text(reply[7]),
	}
	list := make([]*Delivery, 0, len(reply)-8)
	var fields hash // of one call after the other
	batch := ""
	for _, one := range reply[8:] {
		p := packed{rest: redislua.Text(one)}
		t := &Delivery{At: at, Asked: asked, Received: received, Circuit: circuit}
		isNew, line := nextNumber(p.text())
		queue, line := nextNumber(line)
		t.Token, line = nextNumber(line)
		t.Slot, line = nextNumber(line)
		wait, line := nextNumber(line)
		if wait > 0 {
			t.Due = received.Add(time.Duration(wait) * time.Microsecond)
		}
		t.Money, _ = nextNumber(line)
		t.Message = p.text()
		id := p.text()
		var names []string
		if isNew == 1 {
			names = newFields
		}
		fields = p.fields(fields[:0], names)
		if p.bad || queue < 1 || int(queue) > len(queues) {
			return nil, errPacked
		}
		t.Record = recordFromHash(queues[queue-1], id, fields)
		// These outlive the call. Parts of the text would keep all of it in memory.
		if t.Batch != batch {
			batch = strings.Clone(t.Batch)
		}
		t.ID, t.Batch, t.Key, t.Mark = strings.Clone(id), batch, strings.Clone(t.Key), strings.Clone(fields.get("mark"))
		if t.Known = batch != ""; t.Known {
			t.Corrupt = corrupt(fields)
		}
		// The record was read before the script counted this start.
		t.MaybeSent = t.Starts
		t.Starts++
		list = append(list, t)
	}
	return list, nil
}

// newFields are the fields of a record that was never taken, as lua/accept.lua writes them.
var newFields = []string{"state", "gen", "batch", "origin", "content"}

// errPacked cannot happen: the scripts pack calls and records as [packed] describes.
var errPacked = errors.New("a script has returned a call in an unknown form")

// packed is a call or a record in the form that lua/join.lua describes: texts, each after its
// length in four bytes.
type packed struct {
	rest string
	bad  bool // something was missing
}

// text returns the next text, empty if it is missing. It is a part of the whole.
func (p *packed) text() string {
	text, _ := p.lookup()
	return text
}

// lookup is text, and reports whether there is one.
func (p *packed) lookup() (text string, there bool) {
	const size = 4
	if len(p.rest) < size {
		p.bad = true
		return "", false
	}
	n := uint32(p.rest[0]) | uint32(p.rest[1])<<8 | uint32(p.rest[2])<<16 | uint32(p.rest[3])<<24
	p.rest = p.rest[size:]
	if n == math.MaxUint32 {
		return "", false
	}
	if uint64(n) > uint64(len(p.rest)) {
		p.bad, p.rest = true, ""
		return "", false
	}
	text, p.rest = p.rest[:n], p.rest[n:]
	return text, true
}

// fields appends the rest to a hash: the values of the named fields, or fields and values if
// names is empty.
func (p *packed) fields(h hash, names []string) hash {
	for n := 0; p.rest != "" && !p.bad; n++ {
		if len(names) == 0 {
			h = append(h, p.text(), p.text())
		} else if value, there := p.lookup(); there && n < len(names) {
			h = append(h, names[n], value)
		}
	}
	return h
}

// nextNumber returns the first number of a line of numbers, and the rest of the line.
func nextNumber(line string) (n int64, rest string) {
	digits, rest, _ := strings.Cut(line, " ")
	return redislua.Integer(digits), rest
}
