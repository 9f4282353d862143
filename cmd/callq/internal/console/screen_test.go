package console

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// terminal interprets the control sequences of a Screen. lines are what a person sees.
type terminal struct {
	lines    []string
	row, col int
}

func (t *terminal) Write(b []byte) (int, error) {
	text := strings.NewReplacer(wrapOff, "", wrapOn, "").Replace(string(b))
	for len(text) > 0 {
		for len(t.lines) <= t.row {
			t.lines = append(t.lines, "")
		}
		switch {
		case strings.HasPrefix(text, lineUp):
			t.row, text = t.row-1, text[len(lineUp):]
			continue
		case strings.HasPrefix(text, eraseBelow):
			t.lines[t.row] = t.lines[t.row][:min(t.col, len(t.lines[t.row]))]
			t.lines, text = t.lines[:t.row+1], text[len(eraseBelow):]
			continue
		case text[0] == '\r':
			t.col = 0
		case text[0] == '\n':
			t.row, t.col = t.row+1, 0
		default:
			line := []byte(t.lines[t.row])
			for len(line) <= t.col {
				line = append(line, ' ')
			}
			line[t.col] = text[0]
			t.lines[t.row] = string(line)
			t.col++
		}
		text = text[1:]
	}
	return len(b), nil
}

func (t *terminal) shows(tb testing.TB, want ...string) {
	tb.Helper()
	if got := strings.TrimRight(strings.Join(t.lines, "\n"), "\n"); got != strings.Join(want, "\n") {
		tb.Errorf("the terminal shows:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
}

func TestOutputIsWrittenAboveTheFrame(t *testing.T) {
	var tty terminal
	s := NewScreen(&tty, true, asIs)
	fmt.Fprintln(s, "first")
	s.Show("1 of 9", "  waits")
	tty.shows(t, "first", "1 of 9", "  waits")
	fmt.Fprintln(s, "second")
	tty.shows(t, "first", "second", "1 of 9", "  waits")
	s.Show("2 of 9")
	tty.shows(t, "first", "second", "2 of 9")
	s.Show()
	fmt.Fprintln(s, "last")
	tty.shows(t, "first", "second", "last")
}

func TestAnInterruptedFrameIsErasedCompletely(t *testing.T) {
	var tty terminal
	s := NewScreen(&tty, true, asIs)
	s.Show("1 of 9", "  waits")
	fmt.Fprint(&tty, "^C") // the terminal's echo
	fmt.Fprintln(s, "callq: stopping")
	tty.shows(t, "callq: stopping", "1 of 9", "  waits")
	s.Show()
	fmt.Fprintln(s, "summary")
	tty.shows(t, "callq: stopping", "summary")
}

func TestAQuestionIsNotFollowedByAFrame(t *testing.T) {
	var tty terminal
	s := NewScreen(&tty, true, asIs)
	s.Show("1 of 9")
	fmt.Fprint(s, "delete it? [y/N]")
	tty.shows(t, "delete it? [y/N]")
}

func TestWithoutATerminalThereIsNoFrame(t *testing.T) {
	var out bytes.Buffer
	s := NewScreen(&out, IsTerminal(&out), asIs)
	s.Show("1 of 9")
	fmt.Fprintln(s, "line")
	if out.String() != "line\n" {
		t.Errorf("got %q, want only the line", out.String())
	}
}

func asIs(text string) string { return text }

func TestAFrameShowsNoCredential(t *testing.T) {
	var tty terminal
	s := NewScreen(&tty, true, strings.NewReplacer("hunter22", "[redacted]").Replace)
	s.Show("the API said hunter22")
	tty.shows(t, "the API said [redacted]")
}
