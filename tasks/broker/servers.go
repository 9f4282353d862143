package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// asynqServers is asynq's set of servers: the key of each server's description, with
// the time at which its heartbeat is overdue.
const asynqServers = "asynq:servers"

// maxServers bounds how many descriptions of servers are read.
const maxServers = 2000

// Processes counts the processes that work on any queue, by asynq's heartbeats. A
// process that was killed is counted for up to half a minute.
func Processes(ctx context.Context, client redis.UniversalClient) (int, error) {
	alive, err := servers(ctx, client, 0)
	processes := map[string]bool{}
	for _, key := range alive {
		processes[processOf(key)] = true
	}
	return len(processes), err
}

// servers returns the keys of the servers whose heartbeat is not overdue, at most limit
// of them; 0: all.
func servers(ctx context.Context, client redis.UniversalClient, limit int64) ([]string, error) {
	alive, err := client.ZRangeByScore(ctx, asynqServers, &redis.ZRangeBy{
		Min: fmt.Sprint(time.Now().Unix()), Max: "+inf", Count: limit,
	}).Result()
	if err != nil {
		return nil, fmt.Errorf("list the workers: %w", err)
	}
	return alive, nil
}

// processOf returns the part of a server's key that identifies its process. The key is
// asynq:servers:{HOST:PID:ID}, and one process runs several servers.
func processOf(key string) string { return key[:max(strings.LastIndexByte(key, ':'), 0)] }

// Workers is [Processes] for each queue: how many processes take its tasks.
func Workers(ctx context.Context, client redis.UniversalClient) (map[string]int, error) {
	alive, err := servers(ctx, client, maxServers)
	if err != nil || len(alive) == 0 {
		return nil, err
	}
	pipe := client.Pipeline()
	infos := make([]*redis.StringCmd, len(alive))
	for i, key := range alive {
		infos[i] = pipe.Get(ctx, key)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	for _, cmd := range infos {
		// A server that has just ended has no description any more.
		if err := cmd.Err(); err != nil && !errors.Is(err, redis.Nil) && !redis.HasErrorPrefix(err, "WRONGTYPE") {
			return nil, fmt.Errorf("read the workers: %w", err)
		}
	}
	processes := map[string]map[string]bool{}
	for i, key := range alive {
		for _, queue := range queuesOf(infos[i].Val()) {
			if processes[queue] == nil {
				processes[queue] = map[string]bool{}
			}
			processes[queue][processOf(key)] = true
		}
	}
	counts := make(map[string]int, len(processes))
	for queue, of := range processes {
		counts[queue] = len(of)
	}
	return counts, nil
}

// queuesOf returns the queues in asynq's description of a server; none for a
// description that cannot be read.
func queuesOf(info string) (queues []string) {
	mt, err := protoregistry.GlobalTypes.FindMessageByName("asynq.ServerInfo")
	if err != nil {
		return nil
	}
	field := mt.Descriptor().Fields().ByName("queues")
	m := mt.New()
	if field == nil || !field.IsMap() || proto.Unmarshal([]byte(info), m.Interface()) != nil {
		return nil
	}
	m.Get(field).Map().Range(func(queue protoreflect.MapKey, _ protoreflect.Value) bool {
		queues = append(queues, queue.String())
		return true
	})
	return queues
}
