package worker_test

import (
	"log/slog"
	"testing"

	"go.uber.org/goleak"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

func TestMain(m *testing.M) {
	redistest.Parallel(8)
	slog.SetDefault(slog.New(slog.DiscardHandler)) // what workers without a logger announce
	if err := plantEnvironment(); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}
