package main

import (
	"fmt"
	"strings"

	"github.com/seed-2903acc3/callq/internal/shellword"
)

// againLine returns the command line that continues the run of a file, or of a stream that
// was spooled.
func (a *app) againLine(name string, spooled bool, f runFlags) string {
	words := []string{"callq", "run", name}
	if f.out != "" {
		words = append(words, "-o", f.out)
	}
	if f.first > 0 {
		words = append(words, "--first", fmt.Sprint(f.first))
	}
	for i, word := range words {
		words[i] = shellword.Quote(word)
	}
	line := strings.Join(words, " ") + a.where()
	if spooled {
		line = "give the same calls to " + line
	}
	return line
}

// next returns a command to run next, as it is typed, with the flags for the same queue.
func (a *app) next(command string) string { return "callq " + command + a.where() }

// where returns the flags of this command that select the queue, with a space before each.
func (a *app) where() string {
	text := ""
	if a.configPath != "" {
		text += " --config " + shellword.Quote(a.configPath)
	}
	switch {
	case strings.Contains(a.redis, "@"):
		text += " --redis URL" // it contains a password
	case a.redis != "":
		text += " --redis " + shellword.Quote(a.redis)
	}
	return text
}
