package redisconn_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/seed-2903acc3/callq/tasks/redisconn"
)

func ExampleOpen() {
	// Without a server program on PATH, Redis runs inside the process.
	path := os.Getenv("PATH")
	os.Setenv("PATH", "")
	defer os.Setenv("PATH", path)

	ctx := context.Background()
	conn, err := redisconn.Open(ctx, "embedded:///var/lib/callq-example", redisconn.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	fmt.Println(conn.Volatile)
	fmt.Println(conn.Client.Incr(ctx, "n").Val())
	// Output:
	// true
	// 1
}

func ExampleValidate() {
	err := redisconn.Validate("redis://user:p#ss@db.example:6379/0")
	fmt.Println(errors.Is(err, redisconn.ErrURL))
	fmt.Println(err)
	// Output:
	// true
	// the Redis URL is wrong: it has a # in it; in a user name or password write % as %25, / as %2F, ? as %3F, # as %23 and @ as %40
}
