package worker_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/internal/programtest"
	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
)

func TestAWorkerStopsWhileItsClockIsWrongAndThenContinuesByItself(t *testing.T) {
	t.Parallel()
	client, server := redistest.Mini(t)
	log := &programtest.Log{}
	env := callqtest.New(t, worker.Config{Redis: client, Logger: slog.New(slog.NewTextHandler(log, nil))})
	env.Start()
	want(t, env.Await(env.Submit(tasks.Call{Path: "/right"}).ID), tasks.StateDone, policy.ClassOK, 1)
	server.SetTime(time.Now().Add(10 * time.Minute))
	awaitTrue(t, "the log to say so", func() bool {
		return strings.Contains(log.String(), "behind Redis's: no call starts here until they agree; set both by NTP")
	})
	id := env.Submit(tasks.Call{Path: "/wrong"}).ID
	// The clock of this Redis is paused, and the worker looks at it every second.
	server.SetTime(time.Now().Add(-10 * time.Minute))
	seen := server.CommandCount()
	awaitTrue(t, "the worker to look", func() bool { return server.CommandCount() >= seen+6 })
	if n := env.Sim().Arrivals(); n != 1 {
		t.Errorf("%d calls arrived, want none beside the first", n)
	}
	server.SetTime(time.Time{}) // the machine's time again
	awaitTrue(t, "the log to say so", func() bool {
		return strings.Contains(log.String(), "this machine's clock and that of Redis agree again")
	})
	want(t, env.Await(id), tasks.StateDone, policy.ClassOK, 1)
}
