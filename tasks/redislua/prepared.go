package redislua

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// Prepared is a script with its keys, for one that runs again and again on the same keys:
// they are put into the form in which go-redis sends them only once. It is safe for
// concurrent use.
type Prepared struct {
	script *redis.Script
	keys   []string
	head   []any // EVALSHA, the digest, the number of keys, and the keys
}

// Prepare makes a [Prepared].
func Prepare(script *redis.Script, keys ...string) *Prepared {
	p := &Prepared{script: script, keys: keys, head: make([]any, 0, 3+len(keys))}
	p.head = append(p.head, "evalsha", script.Hash(), len(keys))
	for _, key := range keys {
		p.head = append(p.head, key)
	}
	return p
}

// Command begins a command in the memory of buffer, which may be nil. The caller appends the
// script's arguments.
func (p *Prepared) Command(buffer []any) []any { return append(buffer[:0], p.head...) }

// Run runs the script with a command that [Prepared.Command] began. The command's memory can
// be used again when it returns.
func (p *Prepared) Run(ctx context.Context, rdb redis.UniversalClient, command []any) *redis.Cmd {
	cmd := redis.NewCmd(ctx, command...)
	if len(p.keys) > 0 {
		cmd.SetFirstKeyPos(3)
	}
	if err := rdb.Process(ctx, cmd); redis.HasErrorPrefix(err, "NOSCRIPT") {
		return p.script.Eval(ctx, rdb, p.keys, command[len(p.head):]...)
	}
	return cmd
}
