package ledger

import (
	"context"
	"errors"
	"sync"
)

// gatherer carries out requests of many goroutines with few scripts. One goroutine at a time
// carries out requests: its own, and those that arrived while the one before it was busy. No
// request waits for others to arrive.
type gatherer[R gathered] struct {
	// do carries out requests with one script, and sets what became of each.
	do func(context.Context, []R)
	// fit returns how many of the requests that wait, the first ones, do carries out together.
	fit func(waiting []R) int

	mu      sync.Mutex
	busy    bool
	waiting []R
}

// gathered is a request to a [gatherer].
type gathered interface{ at() *place }

// place is a request's place among those that wait. The zero value cannot be used: see newPlace.
type place struct {
	// turn is closed when the request was carried out, or when its goroutine is to carry it
	// out together with those that wait; done distinguishes the two.
	turn chan struct{}
	done bool
	err  error
}

func newPlace() place { return place{turn: make(chan struct{})} }

func (p *place) at() *place { return p }

var errNotDone = errors.New("it was not written")

// ask carries out a request, and returns its error.
func (g *gatherer[R]) ask(ctx context.Context, r R) error {
	own := r.at()
	g.mu.Lock()
	g.waiting = append(g.waiting, r)
	if g.busy {
		g.mu.Unlock()
		<-own.turn
		if own.done {
			return own.err
		}
		g.mu.Lock()
	}
	g.busy = true
	together := g.next()
	g.mu.Unlock()
	for _, one := range together {
		one.at().err = errNotDone
	}
	// If this goroutine panics, the others must not wait for ever.
	defer func() {
		g.mu.Lock()
		if g.busy = len(g.waiting) > 0; g.busy {
			close(g.waiting[0].at().turn)
		}
		g.mu.Unlock()
		for _, other := range together[1:] {
			other.at().done = true
			close(other.at().turn)
		}
	}()
	g.do(context.WithoutCancel(ctx), together)
	return own.err
}

// ofQueue returns what all has for a queue, and makes it first if it has none.
func ofQueue[T any](all *sync.Map, queue string, newOne func() T) T {
	found, ok := all.Load(queue)
	if !ok {
		found, _ = all.LoadOrStore(queue, newOne())
	}
	return found.(T)
}

// next takes the first of the requests that wait, and others to carry out with it.
func (g *gatherer[R]) next() []R {
	n := g.fit(g.waiting)
	together := g.waiting[:n:n]
	g.waiting = g.waiting[n:]
	return together
}
