package ledger

import "github.com/seed-2903acc3/callq/tasks/redislua"

const (
	keyBatches = "callq:batches" // zset, batch name by creation in ms
	keyQueues  = "callq:queues"  // set, every queue that ever had a call
	keyFull    = "callq:full"    // since when the results take too much memory, in ms
	asynqAll   = "asynq:queues"  // asynq's own set of queues
)

// keys builds the keys of one queue.
type keys struct{ own, asynq string }

func keysOf(queue string) keys {
	return keys{own: redislua.Own(queue, ""), asynq: redislua.Asynq(queue, "")}
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
func (k keys) asked(worker string) string   { return k.own + "asked:" + worker }
func (k keys) workers() string              { return k.own + "workers" }
func (k keys) watched() string              { return k.own + "watched" }
func (k keys) news(list string) string      { return k.own + list }

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
