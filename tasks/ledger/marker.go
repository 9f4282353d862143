package ledger

import (
	"context"
	"errors"

	"github.com/seed-2903acc3/callq/tasks/redislua"
)

// maxMarkings bounds how many calls one script marks: Redis serves no other client meanwhile.
const maxMarkings = 64

// markRequest is a request for the mark of one call, in the terms of lua/mark.lua.
type markRequest struct {
	place
	delivery *Delivery
	// attempt is the attempt's number, empty for a call that may be sent twice; probe is the
	// token of the account's probe.
	attempt, probe string
	known          knownFence

	code, value int64
}

// marker returns what marks the calls of a queue.
func (d *Dispatcher) marker(queue string) *gatherer[*markRequest] {
	return ofQueue(&d.markers, queue, func() *gatherer[*markRequest] {
		return &gatherer[*markRequest]{
			do:  func(ctx context.Context, list []*markRequest) { d.makeMarks(ctx, queue, list) },
			fit: func(waiting []*markRequest) int { return min(len(waiting), maxMarkings) },
		}
	})
}

var errBadMarks = errors.New("the script that marks calls has returned another number of results")

// makeMarks marks calls of one queue with one script.
func (d *Dispatcher) makeMarks(ctx context.Context, queue string, list []*markRequest) {
	k := keysOf(queue)
	decides := d.circuit(queue) == d.circuit(redislua.UpstreamOf(queue))
	args := append(make([]any, 0, 3+9*len(list)), k.taskPrefix(), k.recordPrefix(), redislua.Flag(decides))
	for _, m := range list {
		t := m.delivery
		args = append(args, &t.ID, t.Generation, &m.attempt, &m.probe, t.Circuit.Epoch, t.Token, &t.Mark, &m.known.life, m.known.seen)
	}
	reply, err := scriptMark.Run(ctx, d.rdb, []string{d.circuit(queue), k.fence()}, args...).Int64Slice()
	if err == nil && len(reply) != 2*len(list) {
		err = errBadMarks
	}
	for i, m := range list {
		if m.err = err; err == nil {
			m.code, m.value = reply[2*i], reply[2*i+1]
		}
	}
}
