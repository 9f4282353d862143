package main

import (
	"context"
	"io"
	stdlog "log"
	"log/slog"
	"os"
	"strings"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/tasks/redisconn"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/upstream"
)

// cleanWriter removes credentials from what is printed.
type cleanWriter struct {
	io.Writer
	secrets *worker.Redactor
	under   io.Writer
}

func newCleanWriter(secrets *worker.Redactor, w io.Writer) io.Writer {
	return &cleanWriter{secrets.Writer(w), secrets, w}
}

// beneath is the writer to which w hands what it is given: the terminal itself, or
// a stream of results, from which the worker has removed the credentials.
func beneath(w io.Writer) io.Writer {
	if c, ok := w.(*cleanWriter); ok {
		return c.under
	}
	return w
}

// learn tells the writers of every credential in the configuration that can be read
// now. What cannot be read is no error here: it is one of whoever needs it.
func (a *app) learn(cfg *config.Config) {
	for _, c := range credentialsOf(cfg) {
		if c.public || c.value.Unresolved() != nil {
			continue
		}
		part := func(value string) { a.secrets.Add(value, c.words...) }
		c.value.Parts(func(string) {}, func(name string) { part(a.env(name)) }, func(path string) {
			if regular(path) {
				value, _ := upstream.FileSecret(path).Value()
				part(value)
			}
		})
		if all(c.value.Files(), regular) {
			value, _ := c.value.Read()
			part(value)
		}
	}
	if all(cfg.Redis.Files(), regular) {
		if url, err := cfg.RedisURL(); err == nil {
			a.learnRedis(url)
		}
	}
}

// learnRedis tells the writers of the passwords in the URL of a Redis.
func (a *app) learnRedis(url string) {
	for user, password := range redisconn.Passwords(url) {
		a.secrets.Add(password, user, "password")
	}
}

// regular reports whether the path is that of a regular file: to read a pipe would
// take away what another reader waits for.
func regular(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func all(paths []string, ok func(string) bool) bool {
	for _, p := range paths {
		if !ok(p) {
			return false
		}
	}
	return true
}

// captureLogs takes over what libraries log by themselves: net/http and asynqmon to
// the standard log package, go-redis to its own logger. It holds for the whole
// process, so that only main calls it.
func (a *app) captureLogs() {
	log := a.logger(slog.LevelWarn)
	redisconn.LogLibrary(log)
	stdlog.SetFlags(0)
	stdlog.SetPrefix("")
	stdlog.SetOutput(&libraryLog{log})
}

// libraryLog is the output of a standard logger: each line becomes a record at
// level debug, as what a library says of it callq says in its own words, or at
// level error where the library says that code panicked.
type libraryLog struct{ log *slog.Logger }

func (l *libraryLog) Write(p []byte) (int, error) {
	text, level := strings.TrimSpace(string(p)), slog.LevelDebug
	if strings.Contains(text, "panic") {
		level = slog.LevelError
	}
	l.log.Log(context.Background(), level, "a library says", "text", text)
	return len(p), nil
}

// errorLog is the logger of an HTTP server.
func errorLog(log *slog.Logger) *stdlog.Logger { return stdlog.New(&libraryLog{log}, "", 0) }
