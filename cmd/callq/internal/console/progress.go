package console

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

const (
	// redrawEvery is the shortest time between two frames.
	redrawEvery = 200 * time.Millisecond
	// lineEvery is how often a line is written if there is no terminal, and
	// unchangedEvery how often if nothing has changed.
	lineEvery      = 5 * time.Second
	unchangedEvery = 30 * time.Second
	// barWidth is the width of the bar in characters.
	barWidth = 24
)

// Status is the progress of a command at one moment.
type Status struct {
	// Ended is how many calls have ended, of the total of [Progress.Begin].
	Ended int
	// NotMade is how many of these ended without a call by this process. They do not
	// count for its pace.
	NotMade int
	// Failed counts the calls that failed, as in "3 dead, 1 dropped". It may be empty.
	Failed string
	// Waiting says in a few words why no call is made. It is empty while calls are
	// made.
	Waiting string
	// Details, unless nil, returns further lines of the frame. It is called only when
	// a frame is drawn.
	Details func(now time.Time) []string
}

// Progress shows the progress of a command: as a frame on a terminal, elsewhere as a line
// every few seconds. It is safe for concurrent use.
type Progress struct {
	screen *Screen
	out    io.Writer
	quiet  bool

	mu      sync.Mutex
	total   int
	pace    pace
	waiting bool
	shown   time.Time
	// line is the last line that was written, without its forecast.
	line  string
	ended bool
}

// NewProgress returns the progress of a command. Its lines are written to out, which is
// the screen, or a writer to the screen that removes credentials. With quiet it shows
// nothing.
func NewProgress(screen *Screen, out io.Writer, quiet bool) *Progress {
	return &Progress{screen: screen, out: out, quiet: quiet, shown: time.Now()}
}

// Begin sets the total number of calls, of which n have ended before.
func (p *Progress) Begin(total, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.total, p.shown = total, now
	p.pace.note(now, 0)
	if total > 0 {
		p.frame(now, Status{Ended: n}, "")
	}
}

// Update shows a status, unless the last one was shown too short a time ago.
func (p *Progress) Update(status func() Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.ended || p.quiet || p.screen.Live() && now.Sub(p.shown) < redrawEvery {
		return
	}
	s := status()
	if p.waiting && s.Waiting == "" {
		p.pace.restart() // the pace from before the wait is no longer right
	}
	p.waiting = s.Waiting != ""
	p.pace.note(now, s.Ended-s.NotMade)
	forecast := ""
	if !p.waiting {
		forecast = p.pace.forecast(p.total - s.Ended)
	}
	if p.screen.Live() {
		p.frame(now, s, forecast)
		return
	}
	begin, end := fmt.Sprintf("%s (%d%%)", ended(s.Ended, p.total), percent(s.Ended, p.total)), ""
	if s.Failed != "" {
		end += ", " + s.Failed
	}
	if s.Waiting != "" {
		end += "; " + Printable(s.Waiting)
	}
	p.write(now, begin+end, begin+forecast+end)
}

// Line is [Progress.Update] for a command whose total is unknown: it shows a line.
func (p *Progress) Line(text func() string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	switch {
	case p.ended || p.quiet:
	case !p.screen.Live():
		if now.Sub(p.shown) >= lineEvery {
			line := text()
			p.write(now, line, line)
		}
	case now.Sub(p.shown) >= redrawEvery:
		p.shown = now
		p.screen.Show(Printable(text()))
	}
}

// write writes a line if there is no terminal. plain is the line without its forecast,
// which changes all the time.
func (p *Progress) write(now time.Time, plain, line string) {
	since := now.Sub(p.shown)
	if since < lineEvery || plain == p.line && since < unchangedEvery {
		return
	}
	p.shown, p.line = now, plain
	fmt.Fprintln(p.out, line)
}

// frame shows the frame of a status.
func (p *Progress) frame(now time.Time, s Status, forecast string) {
	if p.quiet {
		return
	}
	p.shown = now
	share := percent(s.Ended, p.total)
	done := barWidth * share / 100
	bar := strings.Repeat("=", done)
	if done < barWidth {
		bar += ">" + strings.Repeat(" ", barWidth-done-1)
	}
	line := fmt.Sprintf("[%s] %3d%%  %s%s", bar, share, ended(s.Ended, p.total), forecast)
	if s.Failed != "" {
		line += ", " + s.Failed
	}
	lines := []string{line}
	if s.Waiting != "" {
		lines = append(lines, "  "+Printable(s.Waiting))
	}
	if s.Details != nil {
		for _, d := range s.Details(now) {
			lines = append(lines, "  "+Printable(d))
		}
	}
	p.screen.Show(lines...)
}

// Printf writes a line, unless the command is quiet.
func (p *Progress) Printf(format string, args ...any) {
	if !p.quiet {
		fmt.Fprintln(p.out, Printable(fmt.Sprintf(format, args...)))
	}
}

// Close removes the frame. The command prints a summary after it.
func (p *Progress) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.screen.Show()
}

func ended(n, total int) string {
	return fmt.Sprintf("%s of %s ended", Grouped(int64(n)), Subject(total, "call", "has", "have"))
}

// percent is 100 only if all have ended.
func percent(n, total int) int { return 100 * n / max(total, 1) }
