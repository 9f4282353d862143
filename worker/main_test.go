package worker_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

func TestMain(m *testing.M) {
	redistest.Parallel(3)
	goleak.VerifyTestMain(m)
}
