package main

import (
	"context"
	"errors"
	"net"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/redis/go-redis/v9"
)

const (
	// scriptCalls is for how many calls the time of each script is measured.
	scriptCalls = 5000
	// scriptSlowerThan is from which time on an execution is logged. The single commands
	// of a script would be logged too, and slow it down; nearly all are faster.
	scriptSlowerThan = 10 * time.Microsecond
)

// scriptTime is how long a script takes. It comes from a run whose rate is not measured,
// because the log of slow commands has every execution.
type scriptTime struct {
	side, name string
	// times is how many executions were logged for a call.
	times           float64
	mean, p999, max time.Duration
}

// scriptTimes measures the scripts of some sides, and adds their names to names.
func scriptTimes(ctx context.Context, url string, calls int, names *scriptNames) ([]scriptTime, error) {
	n := min(calls, scriptCalls)
	var all []scriptTime
	for _, side := range []contender{
		callqWorker(nameCallq, variant{}),
		callqWorker(nameBoth, variant{limited: true, marked: true}),
		callqRun(nameRun, url),
		asynqWorker(nameAsynqKept, 1, true),
	} {
		times, err := timesOf(ctx, side, n, names)
		if err != nil {
			return nil, err
		}
		all = append(all, times...)
	}
	return all, nil
}

func timesOf(ctx context.Context, side contender, n int, names *scriptNames) (list []scriptTime, err error) {
	s, err := embedded.start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	s.client.AddHook(names)
	w, err := side.prepare(ctx, s, n)
	if err != nil {
		return nil, err
	}
	took, err := loggedRun(ctx, s, w, n)
	if err = errors.Join(err, w.end()); err != nil {
		return nil, err
	}
	for sha, times := range took {
		list = append(list, timeOf(side.name, names.of(sha), times, n))
	}
	slices.SortFunc(list, func(a, b scriptTime) int { return compareFloats(b.times*float64(b.mean), a.times*float64(a.mean)) })
	return list, nil
}

// loggedRun does the work, and returns how long each execution of each script took.
func loggedRun(ctx context.Context, s *server, w *work, n int) (map[string][]time.Duration, error) {
	for name, value := range map[string]string{
		"slowlog-log-slower-than": strconv.FormatInt(scriptSlowerThan.Microseconds(), 10),
		"slowlog-max-len":         strconv.Itoa(100 * n),
	} {
		if err := s.client.ConfigSet(ctx, name, value).Err(); err != nil {
			return nil, err
		}
	}
	if err := s.client.SlowLogReset(ctx).Err(); err != nil {
		return nil, err
	}
	if err := w.run(); err != nil {
		return nil, err
	}
	entries, err := s.client.SlowLogGet(ctx, -1).Result()
	took := map[string][]time.Duration{}
	for _, e := range entries {
		if sha := shaOf(e.Args); sha != "" {
			took[sha] = append(took[sha], e.Duration)
		}
	}
	return took, err
}

func compareFloats(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func timeOf(side, name string, times []time.Duration, n int) scriptTime {
	slices.Sort(times)
	var sum time.Duration
	for _, t := range times {
		sum += t
	}
	return scriptTime{
		side: side, name: name, times: float64(len(times)) / float64(n), mean: sum / time.Duration(len(times)),
		p999: times[min(len(times)*999/1000, len(times)-1)], max: times[len(times)-1],
	}
}

// scriptNames is a hook that names each script after the Go function that runs it.
type scriptNames struct{ names sync.Map }

// of returns the name of a script; the begin of its digest if no function is known.
func (h *scriptNames) of(sha string) string {
	if name, ok := h.names.Load(sha); ok {
		return name.(string)
	}
	return "script " + sha[:min(8, len(sha))]
}

func (h *scriptNames) note(cmd redis.Cmder) {
	args := cmd.Args()
	if len(args) < 2 {
		return
	}
	name, _ := args[0].(string)
	sha, _ := args[1].(string)
	if !strings.EqualFold(name, "evalsha") {
		return
	}
	if _, known := h.names.Load(sha); !known {
		if caller := callerOfScript(); caller != "" {
			h.names.Store(sha, caller)
		}
	}
}

// callerOfScript returns the exported function, of the packages that have scripts, which
// led to this call.
func callerOfScript() string {
	stack := make([]uintptr, 64)
	frames := runtime.CallersFrames(stack[:runtime.Callers(2, stack)])
	for {
		frame, more := frames.Next()
		if strings.Contains(frame.Function, "/callq/tasks/ledger.") || strings.Contains(frame.Function, "/callq/worker/") ||
			strings.Contains(frame.Function, "/asynq/internal/rdb.") {
			name := path.Base(frame.Function) // ledger.(*Dispatcher).Dequeue
			if last := name[strings.LastIndexByte(name, '.')+1:]; last != "" && unicode.IsUpper(rune(last[0])) {
				return strings.NewReplacer("(*", "", "(", "", ")", "").Replace(name)
			}
		}
		if !more {
			return ""
		}
	}
}

// DialHook implements [redis.Hook].
func (h *scriptNames) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

// ProcessHook implements [redis.Hook].
func (h *scriptNames) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h.note(cmd)
		return next(ctx, cmd)
	}
}

// ProcessPipelineHook implements [redis.Hook].
func (h *scriptNames) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			h.note(cmd)
		}
		return next(ctx, cmds)
	}
}
