package filerun

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sync"

	"github.com/seed-2903acc3/callq/tasks"
)

// maxRefusals and maxRepeats are how many refused and repeated lines are reported. The
// others are mostly repetitions of the same mistake.
const maxRefusals, maxRepeats = 20, 3

// plan has the calls of an input: for each key the digest of its call and its state. It
// takes about 50 bytes for each call and does not contain the calls themselves. After it
// was read it is safe for concurrent use.
type plan struct {
	mu      sync.Mutex
	byKey   map[hash16]plannedCall
	pending int
	// maxBatch is the highest number of a batch to which a call was moved.
	maxBatch int

	accepted int // number of different calls
	// duplicates counts lines with the same call as an earlier line; repeats are the
	// first of them.
	duplicates int
	repeats    []Repeat
	refused    int
	refusals   []*tasks.FieldError // the first of them
	lines      int                 // the number of the last line that was read
	byContent  int                 // number of calls without a key
	upstreams  map[string]bool     // the upstreams of the calls
	// readAll returns the plan of all calls of the input, if this one has only the first.
	readAll func() (*plan, error)
	// adopted has the ids of calls of the queue with other keys that are the same as
	// calls of the plan; see runner.adopt.
	adopted map[hash16]string
	// chosen are the calls that are made again in any state.
	chosen map[hash16]bool
}

// plannedCall is the call of one key.
type plannedCall struct {
	digest hash16
	state  tasks.State // empty until the call has ended
	// batch is the number of the batch that the call belongs to, sent reports that it was
	// sent there; see runner.
	batch uint16
	sent  bool
	// byContent reports that the line has no key; line is its number.
	byContent bool
	line      int32
}

// hash16 is a hash of 16 bytes.
type hash16 [16]byte

func hashOf(text string) hash16 {
	sum := sha256.Sum256([]byte(text))
	return hash16(sum[:16])
}

// digestOf parses a digest of a results file. An invalid digest gives zero, which matches
// no call.
func digestOf(text string) hash16 {
	var d hash16
	if raw, err := hex.DecodeString(text); err == nil && len(raw) == len(d) {
		copy(d[:], raw)
	}
	return d
}

// planOf returns the plan of an input, or of its first calls if first is above 0. A read
// error is an [InputError].
func planOf(in *Input, rules tasks.Rules, first int) (*plan, error) {
	r, err := in.open()
	if err != nil {
		return nil, err
	}
	p, err := readPlan(r, rules, first)
	if err != nil {
		return nil, inputError(ProblemCalls, "%s: %w", in.name, err)
	}
	p.readAll = func() (*plan, error) {
		if first == 0 {
			return p, nil
		}
		return planOf(in, rules, 0)
	}
	return p, nil
}

// readPlan reads all calls of an input, or the first ones if first is above 0.
func readPlan(in io.Reader, rules tasks.Rules, first int) (*plan, error) {
	p := &plan{byKey: map[hash16]plannedCall{}, upstreams: map[string]bool{}, adopted: map[hash16]string{}, chosen: map[hash16]bool{}}
	for line, err := range tasks.ReadCalls(in, tasks.ReadOptions{Rules: rules}) {
		p.lines = line.Number
		var bad *tasks.FieldError
		switch {
		case errors.As(err, &bad):
			p.refuse(bad)
			continue
		case err != nil:
			return nil, err
		}
		key, digest := hashOf(line.Call.Key), digestOf(tasks.ContentHash(line.Call))
		if was, again := p.byKey[key]; again {
			if was.digest == digest {
				p.repeat(line.Number, int(was.line))
				continue
			}
			p.refuse(&tasks.FieldError{
				Line: line.Number, Field: "key", Problem: fmt.Sprintf("%q is already the key of a different call in this file", line.Call.Key),
				Fix: "give each call its own key",
			})
			continue
		}
		p.byKey[key] = plannedCall{digest: digest, byContent: line.ByContent, line: int32(min(line.Number, 1<<31-1))}
		p.upstreams[line.Call.Upstream] = true
		if line.ByContent {
			p.byContent++
		}
		p.accepted++
		if p.accepted == first {
			break
		}
	}
	p.pending = p.accepted
	return p, nil
}

// repeat records that a line has the same call as an earlier line.
func (p *plan) repeat(line, of int) {
	if p.duplicates++; len(p.repeats) < maxRepeats {
		p.repeats = append(p.repeats, Repeat{line, of})
	}
}

func (p *plan) refuse(e *tasks.FieldError) {
	p.refused++
	if len(p.refusals) < maxRefusals {
		p.refusals = append(p.refusals, e)
	}
}

// open returns the number of calls that have not ended.
func (p *plan) open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pending
}

// positional matches the keys that earlier versions gave to lines without one.
var positional = regexp.MustCompile(`^line-[1-9][0-9]*$`)

// find returns the key under which the plan has a call of a result or of the queue, with
// the same or another content. named reports that both have the same key. A line without a
// key has its content as key; if an earlier version named it by its position, find
// compares the digest. It must be called with p.mu held.
func (p *plan) find(key, digest string) (k hash16, named, ok bool) {
	k = hashOf(key)
	if _, ok := p.byKey[k]; ok {
		return k, true, true
	}
	if p.byContent == 0 || len(digest) != 2*len(hash16{}) || !positional.MatchString(key) {
		return k, false, false
	}
	k = hashOf(tasks.ContentKey(digest))
	a, ok := p.byKey[k]
	return k, false, ok && a.byContent && a.digest == digestOf(digest)
}

// has returns the call of the plan with this key and content, if there is one. It must be
// called with p.mu held.
func (p *plan) has(key, digest string) (hash16, plannedCall, bool) {
	k, _, ok := p.find(key, digest)
	a := p.byKey[k]
	return k, a, ok && a.digest == digestOf(digest)
}

// nameOf returns the key of a call in the plan.
func (p *plan) nameOf(key, digest string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, named, ok := p.find(key, digest); ok && !named {
		return tasks.ContentKey(digest)
	}
	return key
}

// line returns the line number of a call in the file, from 1.
func (p *plan) line(key, digest string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	k, _, _ := p.find(key, digest)
	return int(p.byKey[k].line)
}

// isOpenIn reports whether the plan has this call in this batch and it has not ended.
func (p *plan) isOpenIn(key, digest string, batch int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, a, ok := p.has(key, digest)
	return ok && a.state == "" && int(a.batch) == batch
}

// claimSend reports whether the call must be sent to this batch, and marks it as sent. So
// it returns true once.
func (p *plan) claimSend(key, digest string, batch int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := hashOf(key)
	a, ok := p.byKey[k]
	if !ok || a.digest != digestOf(digest) || a.state != "" || int(a.batch) != batch || a.sent {
		return false
	}
	a.sent = true
	p.byKey[k] = a
	return true
}

// unsent returns the number of calls that have neither ended nor been sent.
func (p *plan) unsent() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, a := range p.byKey {
		if a.state == "" && !a.sent {
			n++
		}
	}
	return n
}

// recordEnd records the state of a call from the call of the queue with this id. It
// returns false if the plan does not have this call or it has ended already.
func (p *plan) recordEnd(key, digest, id string, batch int, state tasks.State) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	k, a, ok := p.has(key, digest)
	if adoptedID, adopted := p.adopted[k]; !ok || a.state != "" || int(a.batch) != batch || adopted && adoptedID != id {
		return false
	}
	p.setEnded(k, a, state)
	return true
}

// done reports whether the result of a call of the plan is known and its state is done.
func (p *plan) done(key, digest string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, a, ok := p.has(key, digest)
	return ok && a.state == tasks.StateDone
}

// setEnded sets the state of an open call. It must be called with p.mu held.
func (p *plan) setEnded(k hash16, a plannedCall, state tasks.State) {
	a.state = state
	p.byKey[k] = a
	p.pending--
}

// lineUse says how a line of a previous results file is used.
type lineUse int

const (
	lineForeign  lineUse = iota // its key is not in the input
	lineFinished                // it is the result of a call, which is not made again
	lineOutdated                // it must be moved out of the file
	lineSurplus                 // its call has a result already; the line may stay
)

// applyResult sets the state of a call from a line of a previous results file. redo
// reports which calls are made again.
func (p *plan) applyResult(r tasks.Result, redo func(tasks.Result) bool) lineUse {
	p.mu.Lock()
	k, named, ok := p.find(r.Key, r.Digest)
	a := p.byKey[k]
	p.mu.Unlock()
	switch {
	case !ok:
		return lineForeign
	case !named && a.state != "": // earlier versions made two calls of two equal lines
		return lineSurplus
	case redo(r) || a.state != "" || a.digest != digestOf(r.Digest):
		return lineOutdated
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.setEnded(k, a, r.State)
	return lineFinished
}

// reset marks every call as open, as before a results file was read.
func (p *plan) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, a := range p.byKey {
		a.state = ""
		p.byKey[k] = a
	}
	p.pending = p.accepted
}

// moveToNext moves a call, given by its key in the plan, to the batch after the given one.
func (p *plan) moveToNext(key string, batch int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := hashOf(key)
	delete(p.adopted, k)
	a := p.byKey[k]
	a.batch, a.sent = uint16(batch)+1, false
	p.byKey[k] = a
	p.maxBatch = max(p.maxBatch, batch+1)
}
