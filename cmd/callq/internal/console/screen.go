package console

import (
	"bytes"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/term"
)

// IsTerminal reports whether a person sits at the other end of f, an *os.File.
func IsTerminal(f any) bool {
	file, ok := f.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// The control sequences of a terminal (ECMA-48, and DECAWM of the VT100).
const (
	toLineStart = "\r"
	lineUp      = "\x1b[A"
	eraseBelow  = "\x1b[J"
	wrapOff     = "\x1b[?7l"
	wrapOn      = "\x1b[?7h"
)

// Screen is the writer of everything that a command tells people. On a terminal it
// keeps a frame of lines below what is written, and redraws it in place. It is safe
// for concurrent use.
type Screen struct {
	live  bool
	clean func(string) string

	mu  sync.Mutex
	out io.Writer
	// frame are the lines on the terminal; the cursor stands behind the last one.
	frame []string
}

// NewScreen makes a screen. live reports that out is a terminal: without it there is
// no frame. clean takes out of a frame's line what nobody may see, as credentials;
// what is written to the screen it leaves alone.
func NewScreen(out io.Writer, live bool, clean func(string) string) *Screen {
	return &Screen{live: live, clean: clean, out: out}
}

// Live reports whether the screen shows frames.
func (s *Screen) Live() bool { return s.live }

// Write writes above the frame.
func (s *Screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.frame) == 0 {
		return s.out.Write(b)
	}
	var text bytes.Buffer
	s.erase(&text)
	text.Write(b)
	if bytes.HasSuffix(b, []byte("\n")) {
		s.draw(&text)
	} else {
		s.frame = nil // the line is not finished
	}
	if _, err := s.out.Write(text.Bytes()); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Show replaces the frame. Lines longer than the terminal is wide are cut by the
// terminal. Where the screen is not live it does nothing.
func (s *Screen) Show(lines ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	cleaned := make([]string, len(lines))
	for i, line := range lines {
		cleaned[i] = s.clean(line)
	}
	if !s.live || slices.Equal(cleaned, s.frame) {
		return
	}
	var text bytes.Buffer
	s.erase(&text)
	s.frame = cleaned
	s.draw(&text)
	_, _ = s.out.Write(text.Bytes()) // nobody reads progress on a terminal that is gone
}

// erase removes the frame from the terminal.
func (s *Screen) erase(to *bytes.Buffer) {
	if len(s.frame) > 0 {
		to.WriteString(toLineStart + strings.Repeat(lineUp, len(s.frame)-1) + eraseBelow)
	}
}

func (s *Screen) draw(to *bytes.Buffer) {
	if len(s.frame) > 0 {
		to.WriteString(wrapOff + strings.Join(s.frame, "\n") + wrapOn)
	}
}
