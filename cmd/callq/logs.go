package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/seed-2903acc3/callq/worker"
)

// logFlags are the flags of the log. Their zero values leave it to the command.
type logFlags struct {
	level  choice
	format choice
	// service reports that the command serves until it is stopped. Its log is JSON unless
	// stderr is a terminal, because other programs collect it.
	service bool
}

const (
	logText = "text"
	logJSON = "json"
)

// logLevels are the values of --log-level.
var logLevels = map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}

// choice is a flag whose value is one of a few words.
type choice struct {
	words []string
	value string
}

// String returns the word that was chosen, or nothing.
func (c *choice) String() string { return c.value }

// Type returns what explainFlag says that the value must be.
func (c *choice) Type() string {
	last := len(c.words) - 1
	return strings.Join(c.words[:last], ", ") + " or " + c.words[last]
}

// Set chooses a word.
func (c *choice) Set(word string) error {
	if !slices.Contains(c.words, word) {
		return errors.New("it is none of the words")
	}
	c.value = word
	return nil
}

// add adds the flags to a command and its subcommands.
func (f *logFlags) add(cmd *cobra.Command, flags *pflag.FlagSet) {
	f.level.words, f.format.words = []string{"debug", "info", "warn", "error"}, []string{logText, logJSON}
	flags.Var(&f.level, "log-level", "least `LEVEL` that is logged: "+f.level.Type())
	flags.Var(&f.format, "log-format", "`FORMAT` of the log: "+f.format.Type())
	completeFlag(cmd, "log-level", func() []string { return f.level.words })
	completeFlag(cmd, "log-format", func() []string { return f.format.words })
}

// serviceKey marks the commands that serve until they are stopped.
const serviceKey = "service"

// asService marks a command that serves until it is stopped.
func asService(cmd *cobra.Command) *cobra.Command {
	cmd.Annotations = map[string]string{serviceKey: "yes"}
	return cmd
}

// beginLogs applies the flags of the log, before the command runs.
func (a *app) beginLogs(cmd *cobra.Command, _ []string) error {
	a.logs.service = cmd.Annotations[serviceKey] != ""
	if a.captures {
		a.captureLogs()
	}
	return nil
}

// logger returns a logger that writes to stderr. The level is that of --log-level, or else
// the given one.
func (a *app) logger(level slog.Level) *slog.Logger {
	if chosen, ok := logLevels[a.logs.level.value]; ok {
		level = chosen
	}
	var h slog.Handler
	if a.logsJSON() {
		h = slog.NewJSONHandler(a.stderr, &slog.HandlerOptions{Level: level, ReplaceAttr: durationsAsText})
	} else {
		h = slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: level})
	}
	if a.secrets != nil {
		h = a.secrets.Handler(h) // before the encoding changes their form
	}
	return slog.New(h)
}

// logsJSON reports whether the log is JSON.
func (a *app) logsJSON() bool {
	if a.logs.format.value != "" {
		return a.logs.format.value == logJSON
	}
	return a.logs.service && !a.terminal
}

// durationsAsText writes durations as the text handler does: 1.5s and not nanoseconds.
func durationsAsText(_ []string, attr slog.Attr) slog.Attr {
	if attr.Value.Kind() == slog.KindDuration {
		attr.Value = slog.StringValue(attr.Value.Duration().String())
	}
	return attr
}

// runLogger returns the logger of a command that prints failed calls itself. It logs each
// failed attempt only if --log-level is given.
func (a *app) runLogger() *slog.Logger {
	log := a.logger(slog.LevelWarn)
	if a.logs.level.value != "" {
		return log
	}
	return slog.New(withoutAttempts{log.Handler()})
}

// withoutAttempts is a handler without the records of failed attempts.
type withoutAttempts struct{ slog.Handler }

func (h withoutAttempts) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == worker.AttemptFailed {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

func (h withoutAttempts) WithAttrs(attrs []slog.Attr) slog.Handler {
	return withoutAttempts{h.Handler.WithAttrs(attrs)}
}

func (h withoutAttempts) WithGroup(name string) slog.Handler {
	return withoutAttempts{h.Handler.WithGroup(name)}
}
