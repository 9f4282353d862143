package main

import (
	"fmt"
	"strings"

	"github.com/seed-2903acc3/callq/internal/shellword"
)

// againLine is the command line that goes on with a file, or with a stream that was
// spooled.
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

// next is a command to go on with, as it is typed: of the same queue as this one.
func (a *app) next(command string) string { return "callq " + command + a.where() }

// where are the flags by which this command has found its queue, with a space in
// front of each.
func (a *app) where() string {
	text := ""
	if a.configPath != "" {
		text += " --config " + shellword.Quote(a.configPath)
	}
	switch {
	case strings.Contains(a.redis, "@"):
		text += " --redis URL" // it has a password in it
	case a.redis != "":
		text += " --redis " + shellword.Quote(a.redis)
	}
	return text
}
