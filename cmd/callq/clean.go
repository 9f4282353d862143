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

// beneath returns the writer that w writes to, which does not remove credentials: the
// terminal itself, or a stream of results, which the worker has cleaned already.
func beneath(w io.Writer) io.Writer {
	if c, ok := w.(*cleanWriter); ok {
		return c.under
	}
	return w
}

// addSecrets adds every credential of the configuration that can be read now to those that
// are removed from the output. One that cannot be read is not an error here: a command that
// needs it reports it.
func (a *app) addSecrets(cfg *config.Config) {
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
			a.addRedisSecrets(url)
		}
	}
}

// addRedisSecrets adds the passwords in the URL of a Redis.
func (a *app) addRedisSecrets(url string) {
	for user, password := range redisconn.Passwords(url) {
		a.secrets.Add(password, user, "password")
	}
}

// regular reports whether the path is a regular file. Reading a pipe would take its content
// from another reader.
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

// captureLogs redirects the logs of libraries: net/http and asynqmon use the standard log
// package, go-redis its own logger. This is for the whole process, so only main begins it;
// the flags of the log apply once they are read.
func (a *app) captureLogs() {
	a.captures = true
	log := a.logger(slog.LevelWarn)
	redisconn.LogLibrary(log)
	stdlog.SetFlags(0)
	stdlog.SetPrefix("")
	stdlog.SetOutput(&libraryLog{log})
}

// libraryLog is the output of a standard logger. Each line becomes a record at level debug,
// because callq reports the same errors itself, or at level error if it is about a panic.
type libraryLog struct{ log *slog.Logger }

func (l *libraryLog) Write(p []byte) (int, error) {
	text, level := strings.TrimSpace(string(p)), slog.LevelDebug
	if strings.Contains(text, "panic") {
		level = slog.LevelError
	}
	l.log.Log(context.Background(), level, "message of a library", "text", text)
	return len(p), nil
}

// errorLog returns the logger of an HTTP server.
func errorLog(log *slog.Logger) *stdlog.Logger { return stdlog.New(&libraryLog{log}, "", 0) }
