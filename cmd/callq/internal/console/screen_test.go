package console

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// terminal understands what a Screen sends, and holds what a person sees.
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

func (t *terminal) sees(tb testing.TB, want ...string) {
	tb.Helper()
	if got := strings.TrimRight(strings.Join(t.lines, "\n"), "\n"); got != strings.Join(want, "\n") {
		tb.Errorf("a person sees:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
}

func TestWhatIsWrittenStandsAboveTheFrame(t *testing.T) {
	var tty terminal
	s := NewScreen(&tty, true, asIs)
	fmt.Fprintln(s, "first")
	s.Show("1 of 9", "  waits")
	tty.sees(t, "first", "1 of 9", "  waits")
	fmt.Fprintln(s, "second")
	tty.sees(t, "first", "second", "1 of 9", "  waits")
	s.Show("2 of 9")
	tty.sees(t, "first", "second", "2 of 9")
	s.Show()
	fmt.Fprintln(s, "last")
	tty.sees(t, "first", "second", "last")
}

func TestAnInterruptedFrameLeavesNoTornLine(t *testing.T) {
	var tty terminal
	s := NewScreen(&tty, true, asIs)
	s.Show("1 of 9", "  waits")
	fmt.Fprint(&tty, "^C") // the terminal's echo
	fmt.Fprintln(s, "callq: stopping")
	tty.sees(t, "callq: stopping", "1 of 9", "  waits")
	s.Show()
	fmt.Fprintln(s, "summary")
	tty.sees(t, "callq: stopping", "summary")
}

func TestAQuestionIsNotFollowedByAFrame(t *testing.T) {
	var tty terminal
	s := NewScreen(&tty, true, asIs)
	s.Show("1 of 9")
	fmt.Fprint(s, "delete it? [y/N]")
	tty.sees(t, "delete it? [y/N]")
}

func TestWithoutATerminalThereIsNoFrame(t *testing.T) {
	var out bytes.Buffer
	s := NewScreen(&out, IsTerminal(&out), asIs)
	s.Show("1 of 9")
	fmt.Fprintln(s, "line")
	if out.String() != "line\n" {
		t.Errorf("written: %q", out.String())
	}
}

func asIs(text string) string { return text }

func TestAFrameShowsNoCredential(t *testing.T) {
	var tty terminal
	s := NewScreen(&tty, true, strings.NewReplacer("hunter22", "[redacted]").Replace)
	s.Show("the API said hunter22")
	tty.sees(t, "the API said [redacted]")
}
