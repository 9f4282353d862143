package main

import (
	"fmt"
	"sync"
	"time"
)

const (
	// redrawEvery is how often a line on a terminal changes, printEvery how often
	// a new line is written elsewhere.
	redrawEvery = 200 * time.Millisecond
	printEvery  = 10 * time.Second
)

// statusLine tells on stderr how far a command is: one line that changes on a
// terminal, a new line now and then elsewhere, nothing with --quiet. It is safe
// for concurrent use.
type statusLine struct {
	mu    sync.Mutex
	a     *app
	live  bool
	last  time.Time
	drawn bool
}

func (a *app) statusLine() *statusLine {
	return &statusLine{a: a, live: isTerminal(a.stderr), last: time.Now()}
}

// show shows what text returns, if it is time to.
func (s *statusLine) show(text func() string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	every := printEvery
	if s.live {
		every = redrawEvery
	}
	if s.a.quiet || time.Since(s.last) < every {
		return
	}
	s.last = time.Now()
	if !s.live {
		fmt.Fprintln(s.a.stderr, text())
		return
	}
	s.drawn = true
	fmt.Fprintf(s.a.stderr, "\r\x1b[K%s", text())
}

// end clears the line. It may be shown again later.
func (s *statusLine) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drawn {
		fmt.Fprint(s.a.stderr, "\r\x1b[K")
		s.drawn = false
	}
}
