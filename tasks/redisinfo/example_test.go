package redisinfo_test

import (
	"fmt"
	"os"

	"github.com/seed-2903acc3/callq/tasks/redisinfo"
)

func ExampleExplain() {
	err := redisinfo.Explain(os.ErrDeadlineExceeded, "redis://db.example:6379/0")
	fmt.Println(err)
	// Output:
	// Redis at redis://db.example:6379/0: no answer came in time; check that it runs, that host, port and TLS (redis:// or rediss://) in the URL are right, and that nothing blocks or slows the way
}
