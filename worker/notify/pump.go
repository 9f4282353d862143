package notify

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// Pump submits the events of one receiver to its queue, one at a time: the next one when the
// one before has ended, however it has. So events arrive in order, and one that the receiver
// never takes does not keep the others for ever. It is not safe for concurrent use; any number
// of processes may pump for the same receiver.
type Pump struct {
	store    *Store
	receiver Receiver
	producer *tasks.Producer
	ledger   *ledger.Ledger
	// submitted is the event that this process knows to be in the queue.
	submitted string
}

// NewPump returns a Pump.
func NewPump(rdb redis.UniversalClient, store *Store, r Receiver) (*Pump, error) {
	p, err := tasks.NewProducer(rdb, tasks.ProducerConfig{Rules: tasks.Rules{Upstreams: []tasks.UpstreamRules{{Name: r.Upstream()}}, AllowJobs: true}})
	if err != nil {
		return nil, err
	}
	return &Pump{store: store, receiver: r, producer: p, ledger: ledger.New(rdb)}, nil
}

// Run submits what can be submitted now.
func (p *Pump) Run(ctx context.Context) error {
	for {
		first, ok, err := p.store.First(ctx, p.receiver.Name)
		if err != nil || !ok {
			return err
		}
		ended, err := p.deliver(ctx, first.Message)
		if err != nil || !ended {
			return err
		}
		if err := p.store.Remove(ctx, p.receiver.Name, first); err != nil {
			return err
		}
	}
}

// deliver submits an event, unless it is in the queue already, and reports whether its job has
// ended.
func (p *Pump) deliver(ctx context.Context, m Message) (ended bool, err error) {
	upstream := p.receiver.Upstream()
	if p.submitted != m.ID {
		idempotent := true // the receiver knows a repeated event by its id
		_, err = tasks.Enqueue(ctx, p.producer, m, tasks.Options{Key: m.ID, Batch: upstream, Upstream: upstream, Idempotent: &idempotent})
		var conflict *tasks.ConflictError
		if err != nil && !errors.As(err, &conflict) { // it is in the queue, with other counts
			return false, fmt.Errorf("submit an event for receiver %s: %w", p.receiver.Name, err)
		}
		p.submitted = m.ID
	}
	r, err := p.ledger.Get(ctx, upstream, tasks.TaskID(upstream, m.ID))
	if errors.Is(err, ledger.ErrNoCall) {
		p.submitted = "" // it was deleted
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return r.State.Ended(), nil
}
