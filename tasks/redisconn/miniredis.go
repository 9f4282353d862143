package redisconn

import (
	"fmt"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/internal/minipipe"
)

// openMini opens a Redis inside the process: without a port or a file, and its data
// ends with it.
func openMini(opts Options, notice string) (*Conn, error) {
	m := miniredis.NewMiniRedis()
	dial, err := minipipe.Dialer(m)
	if err != nil {
		return nil, fmt.Errorf("start a Redis inside the process: %w", err)
	}
	o := baseOptions(opts)
	o.Addr = "in-process"
	o.Dialer = dial
	client := redis.NewClient(o)

	stop := make(chan struct{})
	var clock sync.WaitGroup
	clock.Go(func() { passTime(m, stop) })
	return &Conn{
		Client:   client,
		Volatile: true,
		Notice:   notice,
		where:    "embedded: (inside this process)",
		close: sync.OnceValue(func() error {
			close(stop)
			clock.Wait()
			err := client.Close()
			m.Close()
			return err
		}),
	}, nil
}

// passTime makes keys expire: miniredis's clock for TTLs does not run by itself, and
// its own option for that (ClockTTL) checks every key at every command.
func passTime(m *miniredis.Miniredis, stop <-chan struct{}) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
			// The time that has passed, not one second: a busy process misses ticks.
			now := time.Now()
			m.FastForward(now.Sub(last))
			last = now
		}
	}
}
