package ledger

import (
	"crypto/rand"
	"sync"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redislua"
)

// store is the Redis connection and the settings that all types share.
type store struct {
	rdb       redis.UniversalClient
	clustered bool
}

func storeOn(rdb redis.UniversalClient) store {
	return store{rdb: rdb, clustered: redislua.Clustered(rdb)}
}

// circuit returns the key of the account's circuit record that the scripts of a queue
// read: the deciding one, or on a Cluster its copy beside the queue.
func (s store) circuit(queue string) string {
	if !s.clustered {
		queue = redislua.UpstreamOf(queue)
	}
	return keysOf(queue).circuit()
}

// Ledger accepts calls, returns their states and endings, and opens ended ones again.
// It is for producers, for commands and for programs that follow calls. It is safe for
// concurrent use.
type Ledger struct{ store }

// New makes a Ledger on the given Redis.
func New(rdb redis.UniversalClient) *Ledger { return &Ledger{storeOn(rdb)} }

// Dispatcher delivers calls to one worker and records what becomes of them, from the
// dequeue to the ending. A worker has one Dispatcher, which remembers the marks of
// sends and the endings that a Redis which goes back in time may forget. It is safe for
// concurrent use.
type Dispatcher struct {
	store
	dequeue *redis.Script
	// name identifies this Dispatcher in its requests and in the calls that it
	// delivers. requests counts its requests.
	name     string
	requests atomic.Int64

	asked     sync.Map // *dequeueKeys by the first queue
	finishers sync.Map // *finisher by queue
	markers   sync.Map // *gatherer[*markRequest] by queue
	writers   sync.Map // by the client of the process that writes
	marks     *marks
	last      *lastEndings
}

// nameLength is the length of a Dispatcher's name: 60 random bits. The task of each
// inflight call holds it.
const nameLength = 12

// NewDispatcher makes a Dispatcher on the given Redis. limits is the Lua source of the
// function limits that lua/dequeue.lua describes; empty for none.
func NewDispatcher(rdb redis.UniversalClient, limits string) *Dispatcher {
	return &Dispatcher{
		store: storeOn(rdb), dequeue: dequeueScript(limits), name: rand.Text()[:nameLength], marks: newMarks(), last: &lastEndings{},
	}
}

// Name identifies this Dispatcher; the calls that it delivers carry it. It is the
// worker's name in [Roster.Beat].
func (d *Dispatcher) Name() string { return d.name }

// Repairer repairs what a crash, or another program that writes to Redis, has left
// behind. It is for doctor and for the recovery of workers. It is safe for concurrent
// use.
type Repairer struct {
	store
	ledger *Ledger
}

// NewRepairer makes a Repairer on the given Redis.
func NewRepairer(rdb redis.UniversalClient) *Repairer { return &Repairer{storeOn(rdb), New(rdb)} }

// Leases are the times until which inflight tasks belong to the workers that took them.
// They are safe for concurrent use.
type Leases struct{ store }

// NewLeases makes Leases on the given Redis.
func NewLeases(rdb redis.UniversalClient) *Leases { return &Leases{storeOn(rdb)} }

// Roster lists the workers that are alive, and returns the calls of dead ones to their
// queues. It is safe for concurrent use.
type Roster struct{ store }

// NewRoster makes a Roster on the given Redis.
func NewRoster(rdb redis.UniversalClient) *Roster { return &Roster{storeOn(rdb)} }

// Fences are the fences of queues for commands and people; a worker uses them through
// its [Dispatcher]. They are safe for concurrent use.
type Fences struct{ store }

// NewFences makes Fences on the given Redis.
func NewFences(rdb redis.UniversalClient) *Fences { return &Fences{storeOn(rdb)} }
