package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/rogpeppe/go-internal/testscript"
)

func writeLines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: lines N FILE")
	}
	var text strings.Builder
	for i := range number(ts, args[0]) {
		fmt.Fprintf(&text, "{\"key\":\"k%d\",\"path\":\"/%d\"}\n", i, i)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text.String()), 0o600))
}

func number(ts *testscript.TestScript, text string) int {
	n, err := strconv.Atoi(text)
	ts.Check(err)
	return n
}

func archiveTasks(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: archive N DAYS")
	}
	died := float64(time.Now().AddDate(0, 0, -number(ts, args[1])).Unix())
	pipe := redisOf(ts).Pipeline()
	for i := range number(ts, args[0]) {
		id := fmt.Sprintf("old-%d", i)
		pipe.ZAdd(context.Background(), "asynq:{sim}:archived", redis.Z{Score: died, Member: id})
		pipe.HSet(context.Background(), "asynq:{sim}:t:"+id, "msg", "m", "state", "archived")
	}
	_, err := pipe.Exec(context.Background())
	ts.Check(err)
}

func deleteQueue(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: deletequeue QUEUE")
	}
	ts.Check(asynq.NewInspectorFromRedisClient(redisOf(ts)).DeleteQueue(args[0], true))
}

func asynqShows(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: asynqmon works|fails")
	}
	_, err := asynq.NewInspectorFromRedisClient(redisOf(ts)).GetQueueInfo("sim")
	if works := err == nil; works != (args[0] == "works") {
		ts.Fatalf("asynq shows the queue with: %v", err)
	}
}
