package broker

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// scriptTimeout bounds one script that runs without its caller's deadline. It is much
// longer than a healthy Redis needs and well below asynq's 30 s lease.
const scriptTimeout = 10 * time.Second

// Dequeue is one request of an asynq server for a task.
type Dequeue struct {
	// Queue is the queue to take a task from.
	Queue string
	// LeaseUntil is when the task's lease is to end, in Unix seconds by the
	// clock of this worker.
	LeaseUntil any
}

// DequeueFunc replaces asynq's dequeue script. It returns the encoded task message, or
// redis.Nil if there is no task. It is called from one goroutine for each asynq server.
// It must bound its requests itself: asynq's lease of 30 s begins when it is called.
type DequeueFunc func(ctx context.Context, d Dequeue) (msg string, err error)

// ForwardFunc reports whether a queue may have delayed tasks that are due, so that
// asynq is to look; set is scheduled or retry. asynq asks a few times a second for each
// of its servers.
type ForwardFunc func(queue, set string) bool

// RetriesFunc replaces the script with which asynq makes due delayed retries pending.
// It moves some of them and returns how many; asynq calls it again until it returns 0.
type RetriesFunc func(ctx context.Context, queue string) (moved int, err error)

// Wrapped is the Redis client that callq passes to asynq's servers. It behaves like the
// real one, with these differences:
//
//   - a [DequeueFunc] answers asynq's dequeue script;
//   - asynq's "done" is answered without Redis for tasks that were already removed,
//     together with the record of their outcome ([Wrapped.Removed]);
//   - asynq's search for delayed tasks that are due is answered without Redis if a
//     [ForwardFunc] reports that there are none;
//   - a [RetriesFunc] moves delayed retries that are due;
//   - asynq's search for tasks whose worker died finds none: it runs only once a
//     minute, and finds nothing at all if it cannot decode a single message, so the
//     worker has its own search;
//   - every other script runs under a context that its caller cannot cancel and with its
//     own timeout: asynq passes a cancelled context to its retries of failed writes, which
//     would then never succeed.
//
// Everything else passes through unchanged. It is safe for concurrent use.
type Wrapped struct {
	redis.UniversalClient
	hooks Hooks

	mu      sync.Mutex
	removed map[task]removed

	moving sync.Map // keys of the delayed sets that asynq is emptying

	fatal atomic.Pointer[error]
}

// Hooks are what a [Wrapped] client does instead of asynq.
type Hooks struct {
	// Dequeue replaces asynq's script of that name.
	Dequeue DequeueFunc
	// Forward is called before asynq looks for delayed tasks that are due; nil lets it
	// look. Forwarded is called when asynq found some; it may be nil.
	Forward   ForwardFunc
	Forwarded func(queue string)
	// Retries moves retries that are due; nil leaves them to asynq, which puts them
	// behind all pending tasks.
	Retries RetriesFunc
	// Fatal is called once, with an error that wraps [ErrUnknownScript], when asynq
	// runs a script that callq was not made for; every dequeue fails from then on. It
	// may be nil.
	Fatal func(error)
}

// Wrap makes the client for asynq's servers.
func Wrap(real redis.UniversalClient, hooks Hooks) *Wrapped {
	return &Wrapped{UniversalClient: real, hooks: hooks, removed: map[task]removed{}}
}

// removedFor is for how long a call of [Wrapped.Removed] is remembered. asynq sends its
// "done" right after the handler returns, or never if it has lost the task's lease.
const removedFor = time.Minute

type removed struct {
	n     int
	until time.Time
}

// task names one of asynq's tasks.
type task struct{ queue, id string }

// taskOf returns the task that an asynq key, "asynq:{QUEUE}:t:ID", belongs to.
func taskOf(key string) task {
	_, rest, _ := strings.Cut(key, "{")
	queue, id, _ := strings.Cut(rest, "}:t:")
	return task{queue, id}
}

// Removed notes that one of callq's scripts has removed the task from asynq's lists, or
// is about to, so that asynq's next "done" for it has nothing left to do. Each call of
// Removed answers one "done".
func (w *Wrapped) Removed(queue, id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	one := task{queue, id}
	w.removed[one] = removed{n: w.removed[one].n + 1, until: time.Now().Add(removedFor)}
}

func (w *Wrapped) swallow(one task) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	r, ok := w.removed[one]
	if !ok {
		return false
	}
	if r.n--; r.n == 0 {
		delete(w.removed, one)
	} else {
		w.removed[one] = r
	}
	return time.Now().Before(r.until)
}

// EvalSha runs a script by its digest; see [Wrapped] for asynq's scripts.
func (w *Wrapped) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	switch {
	case sha == shaDequeue:
		return w.runDequeue(ctx, keys, args)
	case sha == shaDone && len(keys) > 2 && w.swallow(taskOf(keys[2])):
		return done
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), scriptTimeout)
	defer cancel()
	switch {
	case sha == shaForward && len(keys) == 2 && w.hooks.Forward != nil:
		return w.runForward(ctx, sha, keys, args)
	case sha == shaExpired:
		return answered(ctx, []any{})
	case looksLikeDequeue(keys):
		return w.fail(ctx, unknownScript("dequeue", sha))
	}
	return w.UniversalClient.EvalSha(ctx, sha, keys, args...)
}

// Eval is go-redis's fallback if Redis does not have the script yet.
func (w *Wrapped) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), scriptTimeout)
	defer cancel()
	return w.UniversalClient.Eval(ctx, script, keys, args...)
}

func (w *Wrapped) runDequeue(ctx context.Context, keys []string, args []any) *redis.Cmd {
	if fatal := w.fatal.Load(); fatal != nil {
		return failed(ctx, *fatal)
	}
	if taskMessageErr != nil {
		return w.fail(ctx, unreadableMessages())
	}
	msg, err := w.hooks.Dequeue(ctx, Dequeue{Queue: queueOf(keys[0]), LeaseUntil: args[0]})
	if err != nil {
		return failed(ctx, err)
	}
	return answered(ctx, msg)
}

// runForward asks the ForwardFunc first. asynq moves 100 tasks at a time, and asks
// until none is left; those further requests are passed on.
func (w *Wrapped) runForward(ctx context.Context, sha string, keys []string, args []any) *redis.Cmd {
	queue := queueOf(keys[0])
	set := strings.TrimPrefix(keys[0], "asynq:{"+queue+"}:")
	_, moving := w.moving.LoadAndDelete(keys[0])
	if !moving && !w.hooks.Forward(queue, set) {
		return answered(ctx, int64(0)) // none was moved
	}
	var cmd *redis.Cmd
	if set == "retry" && w.hooks.Retries != nil {
		n, err := w.hooks.Retries(ctx, queue)
		if cmd = answered(ctx, int64(n)); err != nil {
			cmd = failed(ctx, err)
		}
	} else {
		cmd = w.UniversalClient.EvalSha(ctx, sha, keys, args...)
	}
	if n, err := cmd.Int(); err == nil && n > 0 {
		w.moving.Store(keys[0], true)
		if w.hooks.Forwarded != nil {
			w.hooks.Forwarded(queue)
		}
	}
	return cmd
}

func (w *Wrapped) fail(ctx context.Context, err error) *redis.Cmd {
	if w.fatal.CompareAndSwap(nil, &err) && w.hooks.Fatal != nil {
		w.hooks.Fatal(err)
	}
	return failed(ctx, err)
}

// done is the reply to asynq's "done" for a task that was already removed. Nobody changes it.
var done = answered(context.Background(), "OK")

// answered is the reply to a script that is not sent to Redis.
func answered(ctx context.Context, reply any) *redis.Cmd {
	cmd := redis.NewCmd(ctx)
	cmd.SetVal(reply)
	return cmd
}

func failed(ctx context.Context, err error) *redis.Cmd {
	cmd := redis.NewCmd(ctx)
	cmd.SetErr(err)
	return cmd
}
