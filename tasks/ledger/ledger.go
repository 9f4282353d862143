package ledger

import (
	"crypto/rand"
	"sync"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redislua"
)

// store is where everything is kept.
type store struct {
	rdb       redis.UniversalClient
	clustered bool
}

func storeOn(rdb redis.UniversalClient) store {
	return store{rdb: rdb, clustered: redislua.Clustered(rdb)}
}

// circuit is the account's circuit record that the scripts of a queue read: the
// one that decides, or on a Cluster its copy beside the queue.
func (s store) circuit(queue string) string {
	if !s.clustered {
		queue = redislua.UpstreamOf(queue)
	}
	return keysOf(queue).circuit()
}

// Ledger is the books: it takes calls in, tells how they stand and ended, and opens
// ended ones again. It is for producers, commands and everybody who follows calls. It is
// safe for concurrent use.
type Ledger struct{ store }

// New makes a Ledger on the given Redis.
func New(rdb redis.UniversalClient) *Ledger { return &Ledger{storeOn(rdb)} }

// Dispatcher hands calls to one worker and records what becomes of them, from the
// dequeue to the ending. A worker has one Dispatcher, which remembers what a Redis that
// goes back in time may forget: marks of sends, and endings. It is safe for concurrent
// use.
type Dispatcher struct {
	store
	dequeue *redis.Script
	// name tells this Dispatcher from others: its questions, and the calls that it
	// delivers. answered counts the questions.
	name     string
	answered atomic.Int64

	finishers sync.Map // by queue
	writers   sync.Map // by the client of the process that writes
	marks     *marks
	last      *lastEndings
}

// nameLength is how long the name of a Dispatcher is: 60 bits at random. It stands in the
// task of each call that is under way.
const nameLength = 12

// NewDispatcher makes a Dispatcher on the given Redis. limits is the Lua source of the
// function limits that lua/dequeue.lua describes; empty for none.
func NewDispatcher(rdb redis.UniversalClient, limits string) *Dispatcher {
	return &Dispatcher{
		store: storeOn(rdb), dequeue: dequeueScript(limits), name: rand.Text()[:nameLength], marks: newMarks(), last: &lastEndings{},
	}
}

// Name tells this Dispatcher from all others; the calls that it delivers are noted to be
// its own. A worker says under it that it lives, see [Roster.Beat].
func (d *Dispatcher) Name() string { return d.name }

// Repairer puts right what a crash, or somebody who writes to Redis, has left behind. It
// is for doctor and for the recovery of workers. It is safe for concurrent use.
type Repairer struct {
	store
	ledger *Ledger
}

// NewRepairer makes a Repairer on the given Redis.
func NewRepairer(rdb redis.UniversalClient) *Repairer { return &Repairer{storeOn(rdb), New(rdb)} }

// Leases are until when the tasks under way belong to the workers that took them. They
// are safe for concurrent use.
type Leases struct{ store }

// NewLeases makes Leases on the given Redis.
func NewLeases(rdb redis.UniversalClient) *Leases { return &Leases{storeOn(rdb)} }

// Roster is the workers that live, and how the calls of dead ones are taken back. It is
// safe for concurrent use.
type Roster struct{ store }

// NewRoster makes a Roster on the given Redis.
func NewRoster(rdb redis.UniversalClient) *Roster { return &Roster{storeOn(rdb)} }

// Fences are the fences of queues as a person sees and opens them; a worker meets them
// through its [Dispatcher]. They are safe for concurrent use.
type Fences struct{ store }

// NewFences makes Fences on the given Redis.
func NewFences(rdb redis.UniversalClient) *Fences { return &Fences{storeOn(rdb)} }
