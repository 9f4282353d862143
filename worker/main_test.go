package worker_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/seed-2903acc3/callq/tasks/broker/brokertest"
)

func TestMain(m *testing.M) {
	brokertest.Parallel(3)
	goleak.VerifyTestMain(m)
}
