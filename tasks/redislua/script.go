package redislua

import (
	"embed"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Read returns the text of Lua files that a package has embedded from its folder lua,
// one after the other. It panics if a file does not exist, which is a bug in that
// package.
func Read(files embed.FS, names ...string) string {
	var text strings.Builder
	for _, name := range names {
		file, err := files.ReadFile("lua/" + name + ".lua")
		if err != nil {
			panic(err) // embedded at build time
		}
		text.Write(file)
	}
	return text.String()
}

// Script makes a script of texts, one after the other.
func Script(texts ...string) *redis.Script {
	return redis.NewScript(Compact(strings.Join(texts, "")))
}

// Compact removes a Lua script's comments and indentation, which Redis would otherwise
// keep in memory.
func Compact(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "--") {
			continue
		}
		b.WriteString(line)
		b.WriteByte('\n')
	}
	return b.String()
}

//go:embed lua/*.lua
var files embed.FS

// Limited returns the Lua functions write_limited and clear_limited: they write and
// remove the note in an account's circuit record that a limit or a budget allows no
// call. [HoldLog] must be before it.
func Limited() string { return Read(files, "limited") }

// HoldLog returns the Lua function log_hold, which adds a hold that is over to the log of
// an account's holds.
func HoldLog() string { return Read(files, "holdlog") }

// HoldsKey is the key of the log of an account's holds.
func HoldsKey(upstream string) string { return CircuitKey(upstream, "") + ":holds" }
