package filerun

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

func TestJoinDistinctRemovesRepeatedErrors(t *testing.T) {
	away := errors.New("Redis is away")
	err := joinDistinct([]error{away, nil, errors.New("Redis is away"), inputError(ProblemCalls, "wrong"), away})
	var input *InputError
	if err.Error() != "Redis is away\nwrong" || !errors.As(err, &input) || !errors.Is(err, away) {
		t.Errorf("got %v", err)
	}
	if err := joinDistinct([]error{nil, nil}); err != nil {
		t.Errorf("got %v", err)
	}
}

// An interrupted run says how to continue, and not that the sender or the worker has ended.
func TestAnInterruptionIsNoErrorOfTheSenderOrTheWorker(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 { // a select chooses by chance
		for name, begin := range map[string]func(worked, sent chan error){
			"sender": func(_, sent chan error) { sent <- fmt.Errorf("send: %w", context.Canceled) },
			"worker": func(worked, _ chan error) { worked <- nil },
		} {
			worked, sent := make(chan error, 1), make(chan error, 1)
			begin(worked, sent)
			r := &runner{lastEnding: newLastEnding()}
			if err := r.follow(ctx, &worked, &sent); err != nil {
				t.Fatalf("%s: got the error %v", name, err)
			}
		}
	}
}
