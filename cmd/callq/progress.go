package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// lineEvery is how often progress is said where there is no terminal.
const lineEvery = 5 * time.Second

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
	start  time.Time
	said   time.Time
	closed bool
}

// newProgress begins to tell of total calls.
func (a *app) newProgress(total int) *progress {
	now := time.Now()
	p := &progress{out: a.stderr, quiet: a.quiet, total: total, start: now, said: now}
	if a.quiet || total == 0 || !isTerminal(a.stderr) {
		return p
	}
	p.bars = mpb.New(mpb.WithOutput(a.stderr), mpb.WithWidth(40), mpb.WithRefreshRate(200*time.Millisecond))
	p.bar = p.bars.AddBar(int64(total),
		mpb.PrependDecorators(decor.CountersNoUnit("%d of %d calls", decor.WCSyncSpace)),
		mpb.AppendDecorators(
			decor.Percentage(decor.WC{W: 5}),
			decor.AverageSpeed(0, "  %.1f/s"),
			decor.OnComplete(decor.Name(", time left "), ""),
			decor.OnComplete(decor.AverageETA(decor.ET_STYLE_GO), ""),
		))
	return p
}

// done says that so many of the calls have ended, and what is to be said of them
// in a line.
func (p *progress) done(n int, losses func() string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.quiet {
		return
	}
	if p.bar != nil {
		p.bar.SetCurrent(int64(n))
		return
	}
	now := time.Now()
	if now.Sub(p.said) < lineEvery {
		return
	}
	p.said = now
	line := fmt.Sprintf("%s of %s have ended (%d%%)", grouped(int64(n)), plural(p.total, "call"), 100*n/max(p.total, 1))
	if rate := float64(n) / now.Sub(p.start).Seconds(); rate > 0 {
		left := time.Duration(float64(p.total-n) / rate * float64(time.Second)).Round(time.Second)
		line += fmt.Sprintf(", %.1f/s, about %s left", rate, humanDuration(left))
	}
	fmt.Fprintln(p.out, line+losses())
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
