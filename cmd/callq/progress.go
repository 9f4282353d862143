package main

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

const (
	// lineEvery is how often progress is said where there is no terminal.
	lineEvery = 5 * time.Second
	// stillEvery is how often it is said where there is none.
	stillEvery = 30 * time.Second
)

// progress tells on stderr how far a command has come: a bar on a terminal, a
// line now and then elsewhere, nothing with --quiet. It is also the writer for
// whatever else goes to stderr meanwhile, so that it does not tear the bar. It is
// safe for concurrent use.
type progress struct {
	mu     sync.Mutex
	out    io.Writer
	quiet  bool
	bars   *mpb.Progress
	bar    *mpb.Bar
	total  int
	said   time.Time
	line   string // what was said then, without the forecast
	closed bool

	pace pace
	held string
	// ahead is the forecast, or the hold, as the bar shows it. The bar reads it while others
	// hold mu and wait for the bar.
	ahead atomic.Pointer[string]
}

// newProgress is for a command that has no calls to tell of yet.
func (a *app) newProgress() *progress { return &progress{out: a.stderr, quiet: a.quiet} }

// begin begins to tell of total calls, of which n have ended.
func (p *progress) begin(total, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total, p.said = total, time.Now()
	p.pace.note(p.said, 0)
	if p.quiet || total == 0 || !isTerminal(p.out) {
		return
	}
	p.bars = mpb.New(mpb.WithOutput(beneath(p.out)), mpb.WithWidth(40), mpb.WithRefreshRate(200*time.Millisecond))
	p.bar = p.bars.AddBar(int64(total),
		mpb.PrependDecorators(decor.CountersNoUnit("%d of %d calls", decor.WCSyncSpace)),
		mpb.AppendDecorators(
			decor.Percentage(decor.WC{W: 5}),
			decor.Any(func(decor.Statistics) string {
				if text := p.ahead.Load(); text != nil {
					return *text
				}
				return ""
			}),
		))
	p.bar.SetCurrent(int64(n))
}

// hold tells what keeps the calls waiting, if anything does. How fast they went
// before says nothing of how fast they go afterwards.
func (p *progress) hold(held string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held != "" && held == "" {
		p.pace.restart()
	}
	p.held = printable(held)
}

// done says that n calls have ended, of which so many were not made here, and what
// is to be said of them in a line.
func (p *progress) done(n, known int, losses func() string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.quiet {
		return
	}
	now := time.Now()
	p.pace.note(now, n-known)
	ahead, held := "", ""
	if p.held == "" {
		ahead = p.pace.forecast(p.total - n)
	} else {
		held = "; " + p.held
	}
	if p.bar != nil {
		after := ahead + held
		p.ahead.Store(&after)
		p.bar.SetCurrent(int64(n))
		return
	}
	since := now.Sub(p.said)
	if since < lineEvery {
		return
	}
	begin, end := progressLine(n, p.total), losses()+held
	if line := begin + end; line != p.line || since >= stillEvery {
		p.said, p.line = now, line
		fmt.Fprintln(p.out, begin+ahead+end)
	}
}

func progressLine(n, total int) string {
	return fmt.Sprintf("%s of %s ended (%d%%)", grouped(int64(n)), verbalOf(total, "call", "has", "have"), 100*n/max(total, 1))
}

// say writes a line, unless --quiet was given.
func (p *progress) say(format string, args ...any) {
	if !p.quiet {
		fmt.Fprintf(p, "%s\n", printable(fmt.Sprintf(format, args...)))
	}
}

// Write writes whole lines, above the bar if there is one.
func (p *progress) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bars != nil && !p.closed {
		if c, ok := p.out.(*cleanWriter); ok {
			return c.over(p.bars).Write(b)
		}
		return p.bars.Write(b)
	}
	return p.out.Write(b)
}

// close ends the bar where it stands. What is written afterwards follows it.
func (p *progress) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.closed = true
	if p.bars != nil {
		p.bar.Abort(false)
		p.bars.Wait()
	}
}
