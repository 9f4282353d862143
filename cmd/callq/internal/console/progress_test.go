package console

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// newProgress returns a progress that is written to out.
func newProgress(out io.Writer, live bool) *Progress {
	screen := NewScreen(out, live, asIs)
	return NewProgress(screen, screen, false)
}

func TestProgressCountsTheWholeFileAndForecastsOnlyCallsThatAreNotHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := newProgress(&out, false)
		p.Begin(500, 200)
		update := func(n int, waiting string) string {
			out.Reset()
			time.Sleep(lineEvery) // in the bubble
			p.Update(func() Status { return Status{Ended: n, NotMade: 210, Failed: "1 dropped", Waiting: waiting} })
			return strings.TrimSuffix(out.String(), "\n")
		}
		// 210 calls were made by a previous run and do not count for the pace of this one.
		if got, want := update(260, ""), "260 of 500 calls have ended (52%), 10.0/s, about 24s left, 1 dropped"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if got, want := update(260, "held until 19:53:10 (outage)"), "260 of 500 calls have ended (52%), 1 dropped; held until 19:53:10 (outage)"; got != want {
			t.Errorf("while calls are held: got %q, want %q", got, want)
		}
		if got, want := update(310, ""), "310 of 500 calls have ended (62%), 10.0/s, about 19s left, 1 dropped"; got != want {
			t.Errorf("after the hold: got %q, want %q", got, want)
		}
	})
	if got, want := ended(0, 1), "0 of 1 call has ended"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestProgressIsWrittenLessOftenWhileNothingChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := newProgress(&out, false)
		p.Begin(10, 0)
		s := Status{Ended: 2}
		// lines returns how many lines are written in a while.
		lines := func(while time.Duration) int {
			out.Reset()
			for range while / time.Second {
				time.Sleep(time.Second) // in the bubble
				p.Update(func() Status { return s })
			}
			return strings.Count(out.String(), "\n")
		}
		for _, c := range []struct {
			what   string
			change func()
			while  time.Duration
			want   int
		}{
			{"the first", func() {}, lineEvery, 1},
			{"nothing has changed", func() {}, unchangedEvery - time.Second, 0},
			{"nothing has changed for a long time", func() {}, time.Second, 1},
			{"a call has ended", func() { s.Ended++ }, lineEvery, 1},
			{"a call was lost", func() { s.Failed = "1 dead" }, lineEvery, 1},
			{"calls are held", func() { s.Waiting = "held until 19:53:10 (outage)" }, lineEvery, 1},
			{"calls are held for ten minutes", func() {}, 10 * time.Minute, 20},
			{"calls are held for longer", func() { s.Waiting = "held until 19:58:10 (outage)" }, lineEvery, 1},
			{"calls are made again", func() { s.Waiting = "" }, lineEvery, 1},
		} {
			c.change()
			if got := lines(c.while); got != c.want {
				t.Errorf("%s: got %d lines, want %d", c.what, got, c.want)
			}
		}
	})
}

func TestTheFrameShowsTheProgressAndWhyCallsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tty terminal
		screen := NewScreen(&tty, true, asIs)
		p := NewProgress(screen, screen, false)
		p.Begin(200, 0)
		time.Sleep(redrawEvery)
		p.Update(func() Status {
			return Status{Ended: 199, Failed: "1 dead, 2 dropped", Waiting: "held until 19:53:10 (outage)", Details: func(time.Time) []string {
				return []string{"row-58: HTTP 500,\x1b[2J next in 15s"}
			}}
		})
		fmt.Fprintln(screen, "row-9: failed for good")
		tty.shows(t, "row-9: failed for good",
			"[=======================>]  99%  199 of 200 calls have ended, 1 dead, 2 dropped",
			"  held until 19:53:10 (outage)",
			"  row-58: HTTP 500, [2J next in 15s")
		p.Update(func() Status { t.Error("the status is read although no frame is drawn"); return Status{} })
		time.Sleep(redrawEvery)
		p.Update(func() Status { return Status{Ended: 200} })
		tty.shows(t, "row-9: failed for good", "[========================] 100%  200 of 200 calls have ended")
		p.Close()
		p.Update(func() Status { t.Error("the status is read after Close"); return Status{} })
		tty.shows(t, "row-9: failed for good")
	})
}

func TestALineWithoutATotalChangesInPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tty terminal
		var piped bytes.Buffer
		live, lines := newProgress(&tty, true), newProgress(&piped, false)
		for n := range 12 {
			time.Sleep(time.Second)
			text := func() string { return Plural(n+1, "call") + " sent" }
			live.Line(text)
			lines.Line(text)
		}
		tty.shows(t, "12 calls sent")
		if got, want := piped.String(), "5 calls sent\n10 calls sent\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestAQuietCommandShowsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tty terminal
		screen := NewScreen(&tty, true, asIs)
		p := NewProgress(screen, screen, true)
		p.Begin(10, 0)
		time.Sleep(time.Minute)
		p.Update(func() Status { return Status{Ended: 5} })
		p.Line(func() string { return "5 calls" })
		p.Printf("patsnap is held")
		tty.shows(t)
	})
}
