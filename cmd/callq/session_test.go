package main

import (
	"errors"
	"testing"
)

func TestAnErrorThatSeveralStepsMetIsSaidOnce(t *testing.T) {
	away := errors.New("Redis is away")
	err := joined([]error{away, nil, errors.New("Redis is away"), misuse("wrong"), away})
	if err.Error() != "Redis is away\nwrong" || statusOf(err) != exitUsage || !errors.Is(err, away) {
		t.Errorf("got status %d: %v", statusOf(err), err)
	}
	if err := joined([]error{nil, nil}); err != nil {
		t.Errorf("got %v", err)
	}
}
