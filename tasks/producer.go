package tasks

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed-2903acc3/callq/tasks/broker"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redislua"
)

// TaskKind is the asynq task type of a call. That of a job is "job:" and its kind.
const TaskKind = "call"

// DefaultBatch is the batch of calls that are submitted without one. It never ends, so
// each of its calls is kept for the retention from its own ending.
const DefaultBatch = ledger.AdHoc

// ProducerConfig says how a Producer checks calls.
type ProducerConfig struct {
	// Rules are what calls are checked against. The zero value accepts any well-formed
	// call that names its upstream.
	Rules Rules
	// BaseURLs are those of the upstreams, by name. Batches remember them, since a
	// result of one API must not be used for another. Optional.
	BaseURLs map[string]string
	// TracerProvider receives the spans of the producer, which the attempts of the calls
	// continue. A call of [Producer.Submit] continues the span of its context; each call of
	// [Producer.SubmitAll] begins a trace that links to the span of the batch. Defaults to
	// none, which costs nothing.
	TracerProvider trace.TracerProvider
}

// Producer adds calls and jobs to the queue. It is safe for concurrent use.
type Producer struct {
	ledger  *ledger.Ledger
	encoder *broker.Encoder
	rules   Rules
	apis    map[string]string
	tracer  *tracer // nil: none
}

// NewProducer makes a Producer on the given Redis. It fails if this callq was not made
// for the linked asynq.
func NewProducer(rdb redis.UniversalClient, cfg ProducerConfig) (*Producer, error) {
	encoder, err := broker.NewEncoder()
	if err != nil {
		return nil, err
	}
	return &Producer{ledger: ledger.New(rdb), encoder: encoder, rules: cfg.Rules, apis: cfg.BaseURLs, tracer: newTracer(cfg.TracerProvider)}, nil
}

// Receipt has the names of a call that was accepted.
type Receipt struct {
	ID, Batch, Key string
	// Duplicate reports that the same key with the same content was there already.
	Duplicate bool
}

// ConflictError reports that its batch has a call with the same key and different content.
type ConflictError struct{ Batch, Key string }

// Error says what is wrong and what to do.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("key %q of batch %q is already the key of a different call; choose another key or another batch", e.Key, e.Batch)
}

// Submit adds one call to its queue. A call without a batch goes to [DefaultBatch]; one
// without a key gets a new one, so that submitting it twice makes two calls. Errors:
// [*FieldError] for an error in the call, [*ConflictError], else Redis's, after which
// submitting the same key again is safe.
func (p *Producer) Submit(ctx context.Context, c Call) (Receipt, error) {
	if c.Key == "" {
		c.Key = newKey()
	}
	if c.Batch == "" {
		c.Batch = DefaultBatch
	}
	c, err := p.rules.Check(c)
	if err != nil {
		return Receipt{}, err
	}
	return p.submit(ctx, c)
}

func (p *Producer) submit(ctx context.Context, c Call) (Receipt, error) {
	if p.tracer == nil {
		return p.enqueue(ctx, c)
	}
	ctx, span := p.tracer.send(ctx, c)
	receipt, err := p.enqueue(ctx, c)
	endSend(span, receipt, err)
	return receipt, err
}

func (p *Producer) enqueue(ctx context.Context, c Call) (Receipt, error) {
	entry, err := p.entry(ctx, c, "")
	if err != nil {
		return Receipt{}, err
	}
	entries := []ledger.Entry{entry}
	claimed, err := p.ledger.Claim(ctx, c.Batch, entries)
	if err != nil {
		return Receipt{}, err
	}
	verdicts, err := p.ledger.Accept(ctx, c.Batch, entries, claimed)
	if err != nil {
		return Receipt{}, err
	}
	if verdicts[0] == ledger.Conflict {
		return Receipt{}, &ConflictError{Batch: c.Batch, Key: c.Key}
	}
	return Receipt{ID: entry.ID, Batch: c.Batch, Key: c.Key, Duplicate: verdicts[0] == ledger.Duplicate}, nil
}

// Enqueue adds a job for Go code to its upstream's queue; see [Producer.Submit] for its
// errors.
func Enqueue[A Args](ctx context.Context, p *Producer, args A, o Options) (Receipt, error) {
	c, err := NewJob(args, o)
	if err != nil {
		return Receipt{}, err
	}
	if c.Key == "" {
		c.Key = newKey()
	}
	if c.Batch == "" {
		c.Batch = DefaultBatch
	}
	rules := p.rules
	rules.AllowJobs = true
	if c, err = rules.Check(c); err != nil {
		return Receipt{}, err
	}
	return p.submit(ctx, c)
}

// newKey returns a key that no other call has.
func newKey() string { return strings.ToLower(rand.Text()) }

// Queue is the asynq queue in which calls of an upstream wait.
func Queue(upstream string, p Priority) string {
	switch p {
	case PriorityHigh, PriorityLow:
		return upstream + ":" + string(p)
	default:
		return upstream
	}
}

// Queues are the three queues of an upstream, the most urgent first.
func Queues(upstream string) []string {
	return []string{upstream + ":high", upstream, upstream + ":low"}
}

// UpstreamOf is the upstream that a queue belongs to.
func UpstreamOf(queue string) string {
	return redislua.UpstreamOf(queue)
}

// priorityOf is the priority of the calls in a queue.
func priorityOf(queue string) Priority {
	switch queue[len(UpstreamOf(queue)):] {
	case ":high":
		return PriorityHigh
	case ":low":
		return PriorityLow
	default:
		return PriorityNormal
	}
}

// entry returns a checked call as an entry for the ledger. hash is its [ContentHash],
// or empty if that is not known yet.
func (p *Producer) entry(ctx context.Context, c Call, hash string) (ledger.Entry, error) {
	if hash == "" {
		hash = ContentHash(c)
	}
	content, err := contentOf(c)
	if err != nil {
		return ledger.Entry{}, err
	}
	e := ledger.Entry{
		ID: TaskID(c.Batch, c.Key), Key: c.Key, Hash: hash,
		Queue: Queue(c.Upstream, c.Priority), Content: content, API: p.apis[c.Upstream],
	}
	if c.NotBefore != nil {
		e.NotBefore = *c.NotBefore
	}
	e.Deadline = c.deadline()
	e.Message, err = encodeTask(ctx, p.encoder, e.Queue, e.ID, c, p.tracer.headers(ctx))
	return e, err
}
