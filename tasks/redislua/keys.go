package redislua

import (
	"strings"

	"github.com/redis/go-redis/v9"
)

// Own is the name of a key of callq's that belongs to a queue. All keys of a queue,
// callq's and asynq's, are in one slot of a Cluster.
func Own(queue, name string) string { return "callq:{" + queue + "}:" + name }

// Asynq is the name of a key of asynq's that belongs to a queue.
func Asynq(queue, name string) string { return "asynq:{" + queue + "}:" + name }

// CircuitKey is where the circuit of a queue's account is recorded, or that of
// one of its endpoints ("METHOD~/path"). The dequeue script reads the former.
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

// Channel is the Redis channel on which is announced that a worker may have
// something to do: a circuit has changed, or calls came into an empty queue. The
// message is a key of the queue. It only says: ask again.
const Channel = "callq:news"

// Clustered reports whether the keys of two queues may live on different nodes, so
// that no script can touch both.
func Clustered(rdb redis.UniversalClient) bool {
	_, clustered := rdb.(*redis.ClusterClient)
	return clustered
}
