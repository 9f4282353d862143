package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// checkTimeout bounds [CheckScripts], which takes some milliseconds. A script that has
// not run by then is considered missing from asynq.
const checkTimeout = 30 * time.Second

// CheckScripts makes the linked asynq run each of the scripts that callq replaces,
// without a Redis, and compares their digests with those that this callq was made for.
// The error wraps [ErrUnknownScript] and names the versions.
func CheckScripts(ctx context.Context) error {
	encoder, err := NewEncoder()
	if err != nil {
		return err
	}
	task, err := encoder.Encode(ctx, "probe", "probe", "probe", nil, nil)
	if err != nil {
		return err
	}
	limit := time.NewTimer(checkTimeout)
	defer limit.Stop()
	p := &scriptProbe{msg: task.Data, seen: map[string]bool{}, all: make(chan struct{})}
	client := redis.NewClient(&redis.Options{
		Dialer:        func(context.Context, string, string) (net.Conn, error) { return nil, errNoRedis },
		DialerRetries: 1, MaxRetries: -1, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	defer func() { _ = client.Close() }() // it has no connection
	client.AddHook(p)
	server := asynq.NewServerFromRedisClient(client, asynq.Config{
		Concurrency: 1, Queues: map[string]int{"probe": 1}, LogLevel: asynq.FatalLevel, Logger: silence{},
		TaskCheckInterval: time.Millisecond, DelayedTaskCheckInterval: time.Millisecond, ShutdownTimeout: time.Second,
	})
	if err := server.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { return nil })); err != nil {
		return fmt.Errorf("try asynq's scripts: %w", err)
	}
	select {
	case <-p.all:
	case <-limit.C:
	case <-ctx.Done():
		err = fmt.Errorf("try asynq's scripts: %w", ctx.Err())
	}
	server.Shutdown()
	if err != nil {
		return err
	}
	return p.verdict()
}

var errNoRedis = errors.New("there is no Redis here")

// scriptProbe answers asynq's scripts instead of Redis and notes their digests. It is a
// hook that passes no command on.
type scriptProbe struct {
	msg string

	mu   sync.Mutex
	seen map[string]bool // by name
	bad  error
	gave bool
	all  chan struct{} // closed when all were seen
}

// probed are the scripts that a server runs by itself, with the ends of their keys.
var probed = []struct {
	name, sha string
	keys      []string // the ends of its keys
}{
	{"dequeue", shaDequeue, []string{":pending", ":paused", ":active", ":lease"}},
	{"done", shaDone, []string{":active", ":lease", ":t:probe", "", ":processed"}},
	{"forward", shaForward, []string{":scheduled", ":pending"}},
	{"expired leases", shaExpired, []string{":lease"}},
}

func (*scriptProbe) DialHook(next redis.DialHook) redis.DialHook { return next }

func (p *scriptProbe) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(context.Context, []redis.Cmder) error { return nil }
}

func (p *scriptProbe) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		script, ok := cmd.(*redis.Cmd)
		if !ok || cmd.Name() != "evalsha" {
			return nil
		}
		args := cmd.Args()
		keys := make([]string, args[2].(int))
		for i := range keys {
			keys[i] = args[3+i].(string)
		}
		switch name := p.note(args[1].(string), keys); {
		case name == "dequeue" && p.deliver():
			script.SetVal(p.msg)
		case name == "dequeue":
			script.SetErr(redis.Nil)
			return redis.Nil
		case name == "expired leases":
			script.SetVal([]any{})
		default:
			script.SetVal(int64(0))
		}
		return nil
	}
}

// note finds out by its keys what a script is for, and compares its digest with the
// expected one.
func (p *scriptProbe) note(sha string, keys []string) string {
	for _, script := range probed {
		if !endIn(keys, script.keys) {
			continue
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if sha != script.sha && p.bad == nil {
			p.bad = unknownScript(script.name, sha)
		}
		if !p.seen[script.name] {
			if p.seen[script.name] = true; len(p.seen) == len(probed) {
				close(p.all)
			}
		}
		return script.name
	}
	return ""
}

func endIn(keys, ends []string) bool {
	if len(keys) != len(ends) {
		return false
	}
	for i, end := range ends {
		if !strings.HasSuffix(keys[i], end) {
			return false
		}
	}
	return true
}

// deliver reports that the only task was not delivered yet, and marks it as delivered.
func (p *scriptProbe) deliver() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	first := !p.gave
	p.gave = true
	return first
}

func (p *scriptProbe) verdict() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bad != nil {
		return p.bad
	}
	for _, script := range probed {
		if !p.seen[script.name] {
			return fmt.Errorf("%w: asynq %s runs no %s script with the keys that this callq expects", ErrUnknownScript, asynqVersion(), script.name)
		}
	}
	return nil
}

// silence is a logger that discards everything.
type silence struct{}

func (silence) Debug(...any) {}
func (silence) Info(...any)  {}
func (silence) Warn(...any)  {}
func (silence) Error(...any) {}
func (silence) Fatal(...any) {}
