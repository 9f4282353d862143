package ledger

import (
	"embed"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redislua"
)

//go:embed lua/*.lua
var sources embed.FS

// load makes one script of several files, in order.
func load(names ...string) *redis.Script {
	return redislua.Script(redislua.Read(sources, names...))
}

// The scripts of a call, in the order of its states.
var (
	scriptClaim     = load("claim")
	scriptAccept    = load("number", "counts", "life", "accept")
	scriptRetries   = load("number", "retries")
	scriptAlone     = load("alone")
	scriptWatch     = load("watch")
	scriptMark      = load("life", "mark")
	scriptAttempt   = load("requeue", "attempt")
	scriptEnd       = load("archive", "number", "counts", "dead", "ending", "end")
	scriptDeadlines = load("states", "number", "counts", "deadlines")
	scriptWithdraw  = load("archive", "states", "number", "counts", "dead", "ending", "withdraw")
	scriptRedrive   = load("number", "counts", "dead", "redrive")
	scriptRearchive = load("rearchive")
	scriptPurge     = load("number", "counts", "dead", "purge")
	scriptFree      = load("number", "counts", "free")
	scriptExpire    = load("number", "counts", "dead", "expire")
	scriptForget    = load("forget")
	scriptUnnote    = load("unnote")
	scriptRead      = load("join", "read")
)

// The scripts with which workers and doctor repair what a crash left.
var (
	scriptBeat     = load("beat")
	scriptReclaim  = load("requeue", "reclaim")
	scriptRelease  = load("requeue", "release")
	scriptOrphaned = load("states", "orphaned")
	scriptFence    = load("number", "counts", "life", "fence")
	scriptGiveBack = load("giveback")
	scriptTrim     = load("archive", "trim")
	scriptUnlist   = load("unlist")
)

// dequeueScript returns the script that takes calls from queues. limits is the Lua
// source of the function limits that lua/dequeue.lua describes; empty for none.
func dequeueScript(limits string) *redis.Script {
	if limits == "" {
		limits = "local function limits() end\n"
	}
	return redislua.Script(redislua.HoldLog(), redislua.Limited(), limits,
		redislua.Read(sources, "number", "states", "join", "pack", "request", "replay", "admission", "grab", "dequeue"))
}
