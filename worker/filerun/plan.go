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

// maxRefusals is how many refused lines are told of: the rest are mostly the same
// mistake again. maxRepeats is the same for repeated lines.
const maxRefusals, maxRepeats = 20, 3

// plan is what a file of calls asks for: for every key the digest of its call,
// and how it ended. It holds some 50 bytes a call and nothing of the calls
// themselves. It is safe for concurrent use once it was read.
type plan struct {
	mu      sync.Mutex
	asked   map[mark]asked
	pending int
	// furthest is the highest number of a batch that a call was moved to.
	furthest int

	accepted int // different calls of the file
	// duplicates counts lines that are the same call as a line before, repeats are the
	// first of them.
	duplicates int
	repeats    []Repeat
	refused    int
	refusals   []*tasks.FieldError // the first of them
	lines      int                 // the last line that was read
	byContent  int                 // calls of lines without a key
	upstreams  map[string]bool     // those that the calls are for
	// whole reads the plan of all calls of the file, where this is one of the first.
	whole func() (*plan, error)
	// holders are the ids of the calls of the queue that stand for calls of the plan
	// though their names differ; see runner.adopt.
	holders map[mark]string
	// chosen are calls that are to be made again whatever their end was.
	chosen map[mark]bool
}

// asked is one key's call.
type asked struct {
	digest mark
	state  tasks.State // empty while it has not ended
	// batch is the number of the batch that holds it, sent that it is there; see
	// runner.
	batch uint16
	sent  bool
	// byContent tells that the line has no key; line is its number.
	byContent bool
	line      int32
}

// mark is a hash of 16 bytes.
type mark [16]byte

func markOf(text string) mark {
	sum := sha256.Sum256([]byte(text))
	return mark(sum[:16])
}

// digestOf reads a digest as results files have it. One that is none is that of
// no call.
func digestOf(text string) mark {
	var d mark
	if raw, err := hex.DecodeString(text); err == nil && len(raw) == len(d) {
		copy(d[:], raw)
	}
	return d
}

// planOf is the plan of an input, or of its first calls where first is above 0. What
// cannot be read is an [InputError].
func planOf(in *Input, rules tasks.Rules, first int) (*plan, error) {
	r, err := in.open()
	if err != nil {
		return nil, err
	}
	p, err := readPlan(r, rules, first)
	if err != nil {
		return nil, inputError(ProblemCalls, "%s: %w", in.name, err)
	}
	p.whole = func() (*plan, error) {
		if first == 0 {
			return p, nil
		}
		return planOf(in, rules, 0)
	}
	return p, nil
}

// readPlan reads the whole file, or its first calls where first is above 0.
func readPlan(in io.Reader, rules tasks.Rules, first int) (*plan, error) {
	p := &plan{asked: map[mark]asked{}, upstreams: map[string]bool{}, holders: map[mark]string{}, chosen: map[mark]bool{}}
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
		key, digest := markOf(line.Call.Key), digestOf(tasks.ContentHash(line.Call))
		if was, again := p.asked[key]; again {
			if was.digest == digest {
				p.repeat(line.Number, int(was.line))
				continue
			}
			p.refuse(&tasks.FieldError{
				Line: line.Number, Field: "key", Problem: fmt.Sprintf("%q stands for a different call of this file already", line.Call.Key),
				Fix: "give each call a key of its own",
			})
			continue
		}
		p.asked[key] = asked{digest: digest, byContent: line.ByContent, line: int32(min(line.Number, 1<<31-1))}
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

// repeat notes that a line is the same call as a line before.
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

// open tells how many calls have not ended.
func (p *plan) open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pending
}

// positional is the form of the keys that earlier versions gave to lines without one.
var positional = regexp.MustCompile(`^line-[1-9][0-9]*$`)

// find returns under which key the plan has a call of results or of the queue, of
// this or another content. A line without a key is known by its content; where an
// earlier version named it by its position, the digest decides. p.mu is held.
func (p *plan) find(key, digest string) (k mark, named, ok bool) {
	k = markOf(key)
	if _, ok := p.asked[k]; ok {
		return k, true, true
	}
	if p.byContent == 0 || len(digest) != 2*len(mark{}) || !positional.MatchString(key) {
		return k, false, false
	}
	k = markOf(tasks.ContentKey(digest))
	a, ok := p.asked[k]
	return k, false, ok && a.byContent && a.digest == digestOf(digest)
}

// has is the plan's call of this name and content, if there is one. p.mu is held.
func (p *plan) has(key, digest string) (mark, asked, bool) {
	k, _, ok := p.find(key, digest)
	a := p.asked[k]
	return k, a, ok && a.digest == digestOf(digest)
}

// nameOf is the key under which the plan knows a call.
func (p *plan) nameOf(key, digest string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, named, ok := p.find(key, digest); ok && !named {
		return tasks.ContentKey(digest)
	}
	return key
}

// line is where the call stands in the file, from 1.
func (p *plan) line(key, digest string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	k, _, _ := p.find(key, digest)
	return int(p.asked[k].line)
}

// waits tells whether the file asks for this call, of this batch, and it has not
// ended.
func (p *plan) waits(key, digest string, batch int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, a, ok := p.has(key, digest)
	return ok && a.state == "" && int(a.batch) == batch
}

// send tells whether the call is to be sent to this batch, which it is once.
func (p *plan) send(key, digest string, batch int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := markOf(key)
	a, ok := p.asked[k]
	if !ok || a.digest != digestOf(digest) || a.state != "" || int(a.batch) != batch || a.sent {
		return false
	}
	a.sent = true
	p.asked[k] = a
	return true
}

// unsent counts the calls that have neither ended nor been sent.
func (p *plan) unsent() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, a := range p.asked {
		if a.state == "" && !a.sent {
			n++
		}
	}
	return n
}

// end notes how a call ended, as the call with this id did. It is false where the
// file does not ask for it, or it had ended before.
func (p *plan) end(key, digest, id string, batch int, state tasks.State) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	k, a, ok := p.has(key, digest)
	if holder, held := p.holders[k]; !ok || a.state != "" || int(a.batch) != batch || held && holder != id {
		return false
	}
	p.note(k, a, state)
	return true
}

// done reports whether the result of a call of the plan is known, and is a done one.
func (p *plan) done(key, digest string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, a, ok := p.has(key, digest)
	return ok && a.state == tasks.StateDone
}

// note notes that a call of the plan, which has not ended, did. p.mu is held.
func (p *plan) note(k mark, a asked, state tasks.State) {
	a.state = state
	p.asked[k] = a
	p.pending--
}

// lineUse is what a line of a previous results file is worth.
type lineUse int

const (
	lineForeign  lineUse = iota // of a key that the file does not have
	lineFinished                // the call need not be made
	lineOutdated                // the line must go
	lineSurplus                 // the call has a result already, and the line may stay
)

// recall takes a line of a previous results file into account. redo tells which
// calls are to be made again.
func (p *plan) recall(r tasks.Result, redo func(tasks.Result) bool) lineUse {
	p.mu.Lock()
	k, named, ok := p.find(r.Key, r.Digest)
	a := p.asked[k]
	p.mu.Unlock()
	switch {
	case !ok:
		return lineForeign
	case !named && a.state != "": // two equal lines were two calls in an earlier version
		return lineSurplus
	case redo(r) || a.state != "" || a.digest != digestOf(r.Digest):
		return lineOutdated
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note(k, a, r.State)
	return lineFinished
}

// forget makes every call one that has not ended, as it was before an earlier
// results file was read.
func (p *plan) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, a := range p.asked {
		a.state = ""
		p.asked[k] = a
	}
	p.pending = p.accepted
}

// next moves a call, by the plan's key, to the batch after the given one.
func (p *plan) next(key string, batch int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := markOf(key)
	delete(p.holders, k)
	a := p.asked[k]
	a.batch, a.sent = uint16(batch)+1, false
	p.asked[k] = a
	p.furthest = max(p.furthest, batch+1)
}
