package ledger

import (
	"embed"
	"strings"

	"github.com/redis/go-redis/v9"
)

const (
	keyBatches = "callq:batches" // zset, batch name by creation in ms
	keyQueues  = "callq:queues"  // set, every queue that ever took a call
	keyFull    = "callq:full"    // since when the results take too much memory, in ms
	asynqAll   = "asynq:queues"  // asynq's own set of queues
)

// keys builds the keys of one queue.
type keys struct{ own, asynq string }

func keysOf(queue string) keys {
	return keys{own: "callq:{" + queue + "}:", asynq: "asynq:{" + queue + "}:"}
}

func (k keys) recordPrefix() string         { return k.own + "c:" }
func (k keys) record(id string) string      { return k.own + "c:" + id }
func (k keys) counts(batch string) string   { return k.own + "b:" + batch }
func (k keys) ended(batch string) string    { return k.own + "e:" + batch }
func (k keys) dead() string                 { return k.own + "dead" }
func (k keys) deadGroup(name string) string { return k.own + "d:" + name }
func (k keys) groups() string               { return k.own + "groups" }
func (k keys) bodies() string               { return k.own + "bodies" }
func (k keys) circuit() string              { return k.own + "circuit" }
func (k keys) deadlines() string            { return k.own + "deadlines" }
func (k keys) fence() string                { return k.own + "fence" }
func (k keys) asked(taker string) string    { return k.own + "asked:" + taker }
func (k keys) workers() string              { return k.own + "workers" }

func (k keys) taskPrefix() string    { return k.asynq + "t:" }
func (k keys) task(id string) string { return k.asynq + "t:" + id }
func (k keys) groupPrefix() string   { return k.asynq + "g:" }
func (k keys) pending() string       { return k.asynq + "pending" }
func (k keys) paused() string        { return k.asynq + "paused" }
func (k keys) active() string        { return k.asynq + "active" }
func (k keys) lease() string         { return k.asynq + "lease" }
func (k keys) scheduled() string     { return k.asynq + "scheduled" }
func (k keys) retry() string         { return k.asynq + "retry" }
func (k keys) archived() string      { return k.asynq + "archived" }
func (k keys) completed() string     { return k.asynq + "completed" }
func (k keys) processed() string     { return k.asynq + "processed" }

func claimsKey(batch string) string { return "callq:{b:" + batch + "}:claims" }
func metaKey(batch string) string   { return "callq:{b:" + batch + "}:meta" }

// CircuitKey is where the circuit of a queue's account is recorded, or that of
// one of its endpoints ("METHOD~/path"). The dequeue script reads the former.
func CircuitKey(queue, endpoint string) string {
	k := keysOf(queue).circuit()
	if endpoint != "" {
		k += "~" + endpoint
	}
	return k
}

// Channel is the Redis channel on which is announced that a worker may have
// something to do: a circuit has changed, or calls came into an empty queue. The
// message is a key of the queue. It only says: ask again.
const Channel = "callq:news"

// Clustered tells whether the keys of two queues may live on different nodes, so
// that no script can touch both.
func Clustered(rdb redis.UniversalClient) bool {
	_, clustered := rdb.(*redis.ClusterClient)
	return clustered
}

// circuit is the account's circuit record that the scripts of a queue read: the
// one that decides, or on a Cluster its copy beside the queue.
func (l *Ledger) circuit(queue string) string {
	if !l.clustered {
		queue = upstreamOf(queue)
	}
	return keysOf(queue).circuit()
}

// upstreamOf is the upstream whose calls stand in a queue.
func upstreamOf(queue string) string {
	upstream, _, _ := strings.Cut(queue, ":")
	return upstream
}

//go:embed lua/*.lua
var sources embed.FS

// Source is the text of a Lua script that a package has embedded from its folder
// lua. It panics where there is none, which is a mistake in that package.
func Source(scripts embed.FS, name string) string {
	src, err := scripts.ReadFile("lua/" + name + ".lua")
	if err != nil {
		panic(err) // embedded at build time
	}
	return string(src)
}

// load makes a script of files that stand one behind the other.
func load(names ...string) *redis.Script {
	src := ""
	for _, name := range names {
		src += Source(sources, name)
	}
	return redis.NewScript(Compact(src))
}

// Compact drops a Lua script's comments and indentation, which Redis would otherwise keep.
func Compact(src string) string {
	var b strings.Builder
	for line := range strings.Lines(src) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "--") {
			continue
		}
		b.WriteString(line)
		b.WriteByte('\n')
	}
	return b.String()
}

var (
	scriptClaim   = load("claim")
	scriptAccept  = load("books", "run", "accept")
	scriptMark    = load("run", "mark")
	scriptFence   = load("books", "run", "fence")
	scriptAlone   = load("alone")
	scriptAttempt = load("attempt")
	scriptPark    = load("park")
	scriptEnd     = load("archive", "books", "end")
	scriptRedrive = load("books", "redrive")
	scriptArchive = load("rearchive")
	scriptPurge   = load("books", "purge")
	scriptExpire  = load("books", "expire")
	scriptUnclaim = load("unclaim")
	scriptForget  = load("forget")

	scriptGiveBack = load("giveback")
)
