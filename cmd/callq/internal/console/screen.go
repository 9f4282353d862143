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

// IsTerminal reports whether f is an *os.File that is a terminal.
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

// Screen writes the output of a command for people. On a terminal it shows a frame of
// lines below that output, and redraws it in place. It is safe for concurrent use.
type Screen struct {
	live  bool
	clean func(string) string

	mu  sync.Mutex
	out io.Writer
	// frame are the lines on the terminal. The cursor is at the end of the last one.
	frame []string
}

// NewScreen returns a screen. live says that out is a terminal; otherwise there is no
// frame. clean removes credentials from the lines of a frame. Other output is not cleaned.
func NewScreen(out io.Writer, live bool, clean func(string) string) *Screen {
	return &Screen{live: live, clean: clean, out: out}
}

// Size is how many columns and lines the terminal has; 0 if that is not known.
func (s *Screen) Size() (width, height int) {
	file, ok := s.out.(*os.File)
	if !ok {
		return 0, 0
	}
	width, height, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return 0, 0
	}
	return width, height
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

// Show replaces the frame. The terminal cuts lines that are too long for it. If the screen
// is not live, Show does nothing.
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
	_, _ = s.out.Write(text.Bytes()) // an error means that the terminal is gone
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
