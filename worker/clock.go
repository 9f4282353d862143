package worker

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/seed-2903acc3/callq/tasks/redisinfo"
)

// clock records whether this machine's clock differs too much from Redis's. With a wrong
// clock a worker would give its calls leases that expire at once, or never, and would
// reclaim the calls of live workers. So it dequeues nothing until the clocks agree.
type clock struct{ wrong atomic.Bool }

func (c *clock) isRight() bool { return !c.wrong.Load() }

// checkClock compares the clocks, and logs when they begin to differ and when they
// agree again.
func (w *Worker) checkClock(ctx context.Context) error {
	skew, err := redisinfo.Skew(ctx, w.cfg.Redis)
	if err != nil {
		return err
	}
	wrong := skew.Abs() > redisinfo.MaxSkew
	switch was := w.clock.wrong.Swap(wrong); {
	case wrong && !was:
		w.log.Error(fmt.Sprintf("this machine's clock is %s Redis's: no call starts here until they agree; set both by NTP", ahead(skew)))
	case was && !wrong:
		w.log.Info("this machine's clock and that of Redis agree again: calls start")
	}
	return nil
}

// ahead returns "5s ahead of" or "5s behind".
func ahead(skew time.Duration) string {
	if skew < 0 {
		return (-skew).Round(time.Second).String() + " behind"
	}
	return skew.Round(time.Second).String() + " ahead of"
}
