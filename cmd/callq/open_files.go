package main

import (
	"log/slog"
	"os"
	"slices"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/tasks/redisconn"
)

// credentialFiles are the files that hold a credential of the configuration, each
// once: those that it refers to, the keys that go with certificates, and the
// configuration itself where a credential is written in it.
func credentialFiles(cfg *config.Config) []string {
	var files []string
	literal := false
	for _, c := range credentialsOf(cfg) {
		files = append(files, c.value.Files()...)
		literal = literal || c.value.Kind() == config.Literal
	}
	for _, u := range cfg.Upstreams {
		if u.TLS.Key != "" {
			files = append(files, u.TLS.Key)
		}
	}
	files = append(files, cfg.Redis.Files()...)
	// A URL that cannot be read is reported by who connects.
	if url, err := cfg.RedisURL(); err == nil {
		password, keys := redisconn.Credentials(url)
		files = append(files, keys...)
		// What a flag or the environment says stands on no line of the file.
		literal = literal || password && cfg.Redis.Kind() == config.Literal && cfg.Redis.Pos().Line > 0
	}
	if literal {
		files = append(files, cfg.Path)
	}
	slices.Sort(files)
	return slices.Compact(files)
}

// openToAll tells whether every user of this machine may read the file. One that
// is not there is nobody's to read: who needs it says so.
func openToAll(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Perm()&0o004 != 0
}

// openFiles remembers which files and placeholders were warned of: a log says it
// once.
type openFiles map[string]bool

// warn logs each credential file that everybody can read, and how to close it, and
// each placeholder that stands where a credential is meant.
func (o openFiles) warn(cfg *config.Config, log *slog.Logger) {
	for _, c := range credentialsOf(cfg) {
		if err := c.value.Unresolved(); err != nil && !o[err.Error()] {
			o[err.Error()] = true
			log.Warn(err.Error())
		}
	}
	for _, path := range credentialFiles(cfg) {
		if !o[path] && openToAll(path) {
			o[path] = true
			log.Warn("everybody on this machine can read a file with a credential in it", "file", path, "fix", "chmod o-rwx "+path)
		}
	}
}
