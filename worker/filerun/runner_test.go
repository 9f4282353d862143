package filerun

import (
	"errors"
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
