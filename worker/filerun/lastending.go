package filerun

import "sync/atomic"

// lastEnding signals that the calls which were open at the last look may all have ended, so
// that a run does not end up to collectEvery late. Calls that other processes end are not
// noted: the next collection finds them.
type lastEnding struct {
	open  atomic.Int64
	noted chan struct{}
}

func newLastEnding() *lastEnding {
	l := &lastEnding{noted: make(chan struct{}, 1)}
	l.open.Store(-1)
	return l
}

// await says how many calls are open now.
func (l *lastEnding) await(open int) { l.open.Store(int64(open)) }

// note counts a call that has ended. It is safe for concurrent use.
func (l *lastEnding) note() {
	if l.open.Add(-1) != 0 {
		return
	}
	select {
	case l.noted <- struct{}{}:
	default: // the last signal was not read yet
	}
}
