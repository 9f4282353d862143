package redislua

import (
	"strings"

	"github.com/redis/go-redis/v9"
)

// Own returns the name of one of callq's keys for a queue. All keys of a queue, callq's
// and asynq's, are in one slot of a Cluster.
func Own(queue, name string) string { return "callq:{" + queue + "}:" + name }

// Asynq returns the name of one of asynq's keys for a queue.
func Asynq(queue, name string) string { return "asynq:{" + queue + "}:" + name }

// CircuitKey is the key of the circuit record of a queue's account, or of one of its
// endpoints ("METHOD~/path"). The dequeue script reads the former.
func CircuitKey(queue, endpoint string) string {
	if endpoint != "" {
		endpoint = "~" + endpoint
	}
	return Own(queue, "circuit"+endpoint)
}

// UpstreamOf is the upstream whose calls wait in a queue.
func UpstreamOf(queue string) string {
	upstream, _, _ := strings.Cut(queue, ":")
	return upstream
}

// Channel is the Redis channel that announces that a worker may find a call: a circuit
// has changed, or calls were added to an empty queue. The message is a key of the
// queue. A worker that receives it asks again.
const Channel = "callq:news"

// EndedChannel is the Redis channel that announces the endings of calls that somebody
// waits for. The message is the call's id.
const EndedChannel = "callq:ended"

// Clustered reports whether the keys of two queues may be on different nodes, so that
// no script can touch both.
func Clustered(rdb redis.UniversalClient) bool {
	_, clustered := rdb.(*redis.ClusterClient)
	return clustered
}
