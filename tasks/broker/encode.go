package broker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// TaskTimeout is asynq's timeout of a task. asynq acts on it without the handler, so it
// is much longer than any wait of a worker.
const TaskTimeout = 24 * time.Hour

// Message is a task as asynq would write it to Redis.
type Message struct {
	// Queue and ID name the task.
	Queue, ID string
	// Data is asynq's own encoding.
	Data string
}

// Encoder turns tasks into asynq's own bytes without sending them, so that one of
// callq's scripts can write a task and its record in one step. It makes asynq's client
// enqueue the task into a fake Redis and keeps what asynq would have sent. It is safe
// for concurrent use.
type Encoder struct{ client *asynq.Client }

// NewEncoder makes an Encoder. It fails with [ErrUnknownScript] if the linked asynq
// enqueues in another way than callq expects.
func NewEncoder() (*Encoder, error) {
	e := &Encoder{client: asynq.NewClientFromRedisClient(capture{})}
	if _, err := e.Encode(context.Background(), "probe", "probe", "probe", nil, nil); err != nil {
		return nil, err
	}
	if taskMessageErr != nil {
		return nil, unreadableMessages()
	}
	return e, nil
}

// Encode encodes a task of the given kind, with headers unless they are nil. asynq itself
// never retries the task, times it out, or keeps it: attempts, deadlines and outcomes are
// the ledger's.
func (e *Encoder) Encode(ctx context.Context, queue, id, kind string, payload []byte, headers map[string]string) (Message, error) {
	var got captured
	_, err := e.client.EnqueueContext(context.WithValue(ctx, captureKey{}, &got), asynq.NewTaskWithHeaders(kind, payload, headers),
		asynq.Queue(queue), asynq.TaskID(id), asynq.MaxRetry(math.MaxInt32), asynq.Timeout(TaskTimeout))
	if errors.Is(err, ErrUnknownScript) || got.err != nil {
		return Message{}, errors.Join(got.err, err)
	}
	if err != nil {
		return Message{}, fmt.Errorf("encode task %s for queue %s: %w", id, queue, err)
	}
	return Message{Queue: queue, ID: id, Data: got.data}, nil
}

type captureKey struct{}

type captured struct {
	data string
	err  error
}

// capture is the fake Redis. It answers the two commands with which asynq enqueues and
// panics (on the nil interface) for any other; NewEncoder's probe would find such a
// panic at start-up.
type capture struct{ redis.UniversalClient }

func (capture) SAdd(ctx context.Context, _ string, _ ...any) *redis.IntCmd {
	return redis.NewIntCmd(ctx)
}

func (capture) EvalSha(ctx context.Context, sha string, _ []string, args ...any) *redis.Cmd {
	cmd := redis.NewCmd(ctx)
	got := ctx.Value(captureKey{}).(*captured)
	data, ok := args[0].([]byte)
	if sha != shaEnqueue || !ok {
		got.err = unknownScript("enqueue", sha)
		cmd.SetErr(got.err)
		return cmd
	}
	got.data = string(data)
	cmd.SetVal(int64(1))
	return cmd
}
