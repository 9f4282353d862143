package main

import (
	"log/slog"
	"os"
	"slices"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/tasks/redisconn"
)

// credentialFiles returns the files that contain a credential of the configuration, each
// once: those that it refers to, the keys of certificates, and the configuration itself if a
// credential is written in it.
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
	// A URL that cannot be read is reported when a command connects.
	if url, err := cfg.RedisURL(); err == nil {
		password, keys := redisconn.Credentials(url)
		files = append(files, keys...)
		// A URL from a flag or the environment has no line in the file.
		literal = literal || password && cfg.Redis.Kind() == config.Literal && cfg.Redis.Pos().Line > 0
	}
	if literal {
		files = append(files, cfg.Path)
	}
	slices.Sort(files)
	return slices.Compact(files)
}

// openToAll reports whether every user of this machine can read the file. A missing file is
// reported by the code that needs it.
func openToAll(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Perm()&0o004 != 0
}

// openFiles are the files and placeholders that have been warned about. Each is logged only
// once.
type openFiles map[string]bool

// warn logs each credential file that everybody can read, and how to fix that, and each
// placeholder that is written in place of a credential.
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
			log.Warn("everybody on this machine can read a file that contains a credential", "file", path, "fix", "chmod o-rwx "+path)
		}
	}
}
