package tasks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/broker"
	"github.com/seed-2903acc3/callq/tasks/ending"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// The errors of a [Client], wrapped with what it was doing.
var (
	// ErrNoCall: no call has that id, or its retention is over.
	ErrNoCall = ledger.ErrNoCall
	// ErrNoBatch: no batch has that name, or its retention is over.
	ErrNoBatch = ledger.ErrNoBatch
	// ErrBusy: a worker has the call, or still holds its task. Try again.
	ErrBusy = errors.New("a worker still holds its task: try again")
	// ErrPurged: the call's content was removed.
	ErrPurged = errors.New("the call was purged")
	// ErrOpen: the call is open.
	ErrOpen = errors.New("the call is open already")
	// ErrDone: the call is done.
	ErrDone = errors.New("the call is done")
	// ErrEnded: the call has ended.
	ErrEnded = errors.New("the call has ended already")
	// ErrNotDead: the call is not a dead letter.
	ErrNotDead = errors.New("the call is not a dead letter")
	// ErrChanged: the call changed since it was read. Read it again.
	ErrChanged = errors.New("the call changed meanwhile")
	// ErrMaybeSent: the call cannot be cancelled because it may have been sent.
	ErrMaybeSent = ledger.ErrMaybeSent
	// ErrPosition: the text is not a position in a list.
	ErrPosition = errors.New("not a position in the list")
	// ErrOpenCalls: the batch has open calls.
	ErrOpenCalls = ledger.ErrOpenCalls
)

const (
	subscribedEvery   = time.Second
	unsubscribedEvery = 250 * time.Millisecond
)

// ClientConfig configures a [Client]. The zero value is ready to use.
type ClientConfig struct {
	// Explain returns the message for end users and the advice for the operator of a
	// class, as policy.ExplainClass does. Without it a call that may have been sent is
	// not cancelled: see [Client.Cancel].
	Explain func(class string) (userMessage, advice string)
	// Endpoint maps a call's method and path, without query, to the endpoint under
	// which dead letters are grouped, as worker.Endpoints does. Defaults to none.
	Endpoint func(upstream, method, path string) string
}

// Client reads and changes the queue: calls, batches and dead letters. It is safe for
// concurrent use. A [Producer] adds calls.
type Client struct {
	cfg     ClientConfig
	ledger  *ledger.Ledger
	encoder *broker.Encoder
	endings *endings
	// subscribedEvery and unsubscribedEvery are the intervals at which Wait reads Redis.
	subscribedEvery, unsubscribedEvery time.Duration
}

// NewClient makes a Client on the given Redis. It fails if this callq was not made for
// the linked asynq.
func NewClient(rdb redis.UniversalClient, cfg ClientConfig) (*Client, error) {
	encoder, err := broker.NewEncoder()
	if err != nil {
		return nil, err
	}
	return &Client{
		cfg: cfg, ledger: ledger.New(rdb), encoder: encoder, endings: &endings{rdb: rdb},
		subscribedEvery: subscribedEvery, unsubscribedEvery: unsubscribedEvery,
	}, nil
}

// Call returns the state of a call, or [ErrNoCall].
func (c *Client) Call(ctx context.Context, id string) (CallInfo, error) {
	r, err := c.ledger.Find(ctx, id)
	if err != nil {
		return CallInfo{}, err
	}
	return callInfoOf(r), nil
}

// Wait waits until the call has ended and returns its result. Redis announces the ending;
// in case an announcement is lost, Wait also reads the record each second, or four times a
// second where the user of Redis may not subscribe. It returns [ErrNoCall] if there is no
// such call.
func (c *Client) Wait(ctx context.Context, id string) (Result, error) {
	r, err := c.ledger.Find(ctx, id)
	if err != nil {
		return Result{}, err
	}
	if r.State.Ended() {
		return resultOf(r), nil
	}
	wait, leave := c.endings.join(id)
	defer leave()
	subscribed, every := wait.subscribed, c.unsubscribedEvery
	for {
		select {
		case <-subscribed:
			// What ends from here on is announced, if the record says that somebody waits.
			subscribed, every = nil, c.subscribedEvery
		case <-wait.ended:
		case <-time.After(every):
		case <-ctx.Done():
			return Result{}, ctx.Err()
		}
		if subscribed == nil {
			// An error means that nothing is announced, as when Redis is full.
			_, _ = c.ledger.Watch(ctx, r.Queue, id)
		}
		if r, err = c.ledger.Get(ctx, r.Queue, id); err != nil {
			return Result{}, err
		}
		if r.State.Ended() {
			return resultOf(r), nil
		}
	}
}

// Redrive opens a call that is dead, dropped or cancelled again: a new generation with
// a fresh budget of attempts, behind the calls that wait. The former ending is kept,
// see [CallInfo]. If a worker still holds the task, Redrive waits for a second. Errors:
// [ErrNoCall], [ErrOpen], [ErrDone], [ErrPurged], [ErrBusy], [ErrChanged],
// [ErrMalformed], [ErrNewerVersion], or Redis's.
func (c *Client) Redrive(ctx context.Context, id string) error {
	r, err := c.ledger.Find(ctx, id)
	if err == nil {
		err = c.redrive(ctx, []ledger.Record{r})[0]
	}
	return about("redrive", id, err)
}

// redrive opens calls of one queue again, each if it is still in the generation of its
// record, and returns for each its error.
func (c *Client) redrive(ctx context.Context, list []ledger.Record) []error {
	calls := make([]ledger.Reopening, len(list))
	errs := make([]error, len(list))
	for i, r := range list {
		info := CallInfo{Result: Result{State: State(r.State)}, Purged: r.Purged}
		if errs[i] = info.CanRedrive(); errs[i] != nil {
			continue
		}
		calls[i].Record = r
		calls[i].Message, calls[i].Deadline, errs[i] = taskOf(ctx, c.encoder, r)
	}
	whenFree(ctx, errs, func(ctx context.Context, which []int) ([]ledger.Change, error) {
		return c.ledger.RedriveAll(ctx, list[0].Queue, choose(calls, which), false)
	})
	return errs
}

// Purge removes the content of a dead letter: the call, its answer and its log. The
// ending stays, and its batch goes on counting it as dead. It cannot be redriven after
// that. Errors: [ErrNoCall], [ErrNotDead], [ErrPurged], [ErrBusy], [ErrChanged], or
// Redis's.
func (c *Client) Purge(ctx context.Context, id string) error {
	r, err := c.ledger.Find(ctx, id)
	if err == nil {
		err = c.purge(ctx, []ledger.Record{r})[0]
	}
	return about("purge", id, err)
}

// purge purges calls of one queue, and returns for each its error.
func (c *Client) purge(ctx context.Context, list []ledger.Record) []error {
	errs := make([]error, len(list))
	for i, r := range list {
		errs[i] = CallInfo{Result: Result{State: State(r.State)}, Purged: r.Purged}.CanPurge()
	}
	whenFree(ctx, errs, func(ctx context.Context, which []int) ([]ledger.Change, error) {
		return c.ledger.PurgeAll(ctx, list[0].Queue, choose(list, which))
	})
	return errs
}

// Cancellation is the reason for a cancellation. The call's result has both fields.
type Cancellation struct {
	// Message is for people, such as "cancelled by alice".
	Message string
	// Rule is the reason for programs, like the rule of a policy.
	Rule string
}

// Cancel ends an open call that no worker is making. A call that a killed worker may
// have sent is never cancelled, since the API may have carried it out: it becomes a
// dead letter of class outcome_unknown; without [ClientConfig.Explain] it is left as it
// is, with [ErrMaybeSent]. Further errors: [ErrNoCall], [ErrEnded], [ErrBusy] for a
// call that a worker is making and will end, or Redis's.
func (c *Client) Cancel(ctx context.Context, id string, why Cancellation) (State, error) {
	r, err := c.ledger.Find(ctx, id)
	if err != nil {
		return "", about("cancel", id, err)
	}
	state, err := c.cancel(ctx, r, why)
	return state, about("cancel", id, err)
}

func (c *Client) cancel(ctx context.Context, r ledger.Record, why Cancellation) (State, error) {
	state, active, err := ending.Cancel(ctx, c.ledger, r, cancelledEnding(r, why), c.unknown())
	switch {
	case err != nil:
		return "", err
	case active:
		return "", ErrBusy
	case state == "":
		return "", ErrEnded
	}
	return State(state), nil
}

func cancelledEnding(r ledger.Record, why Cancellation) ledger.Ending {
	return ledger.Ending{
		Class: "cancelled", Rule: why.Rule, Message: why.Message,
		UserMessage: "This request was cancelled before it was carried out.",
		Advice:      "Nothing to do. If it is wanted after all, redrive it, or send it again as another batch.",
		Attempts:    r.Attempts, Parked: r.Parked, FirstAt: r.FirstAt, FinishedAt: time.Now().UTC(),
	}
}

// unknown returns what to record for a call that may have been sent; nil: record
// nothing.
func (c *Client) unknown() func(*ledger.Record) ending.Reason {
	if c.cfg.Explain == nil {
		return nil
	}
	return func(r *ledger.Record) ending.Reason {
		message, advice := c.cfg.Explain("outcome_unknown")
		return ending.Reason{UserMessage: message, Advice: advice, Endpoint: c.endpointOf(r)}
	}
}

// endpointOf is the endpoint of a call; empty if the call cannot be read.
func (c *Client) endpointOf(r *ledger.Record) string {
	call, err := callOf(r)
	if err != nil || c.cfg.Endpoint == nil {
		return ""
	}
	path, err := call.URLPath()
	if err != nil {
		return ""
	}
	return c.cfg.Endpoint(UpstreamOf(r.Queue), call.Method, path)
}

// about adds the call to an error.
func about(verb, id string, err error) error {
	if err == nil || errors.Is(err, ErrNoCall) { // it names the call
		return err
	}
	return fmt.Errorf("%s call %s: %w", verb, id, err)
}
