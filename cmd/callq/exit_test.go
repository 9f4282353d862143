package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/seed-2903acc3/callq/policy/yamlfile"
)

func TestJoinedErrorsHaveTheWorstStatus(t *testing.T) {
	plain := errors.New("it broke")
	wrong := usageError("it is wrong")
	inConfig := yamlfile.Pos{File: "callq.yaml", Line: 1, Column: 2}.Errorf("no")
	for _, tc := range []struct {
		err  error
		want int
	}{
		{nil, exitOK},
		{plain, exitFailed},
		{errFindings, exitFailed},
		{errFailedCalls, exitFailedCalls},
		{wrong, exitUsage},
		{inConfig, exitUsage},
		{yamlfile.Errors{inConfig}, exitUsage},
		{fmt.Errorf("loading: %w", inConfig), exitUsage},
		{fmt.Errorf("waiting: %w", errFailedCalls), exitFailedCalls},
		{errors.Join(errFailedCalls, plain), exitFailed},
		{errors.Join(plain, wrong, errFailedCalls), exitUsage},
		{errors.Join(errFailedCalls, fmt.Errorf("closing: %w", wrong)), exitUsage},
		{errors.Join(errFailedCalls, errFailedCalls), exitFailedCalls},
		{context.Canceled, exitFailed},
	} {
		if got := statusOf(tc.err); got != tc.want {
			t.Errorf("%v: got %d, want %d", tc.err, got, tc.want)
		}
	}
}

func TestJoinedErrorsAreReportedOnLinesOfTheirOwn(t *testing.T) {
	inConfig := yamlfile.Pos{File: "callq.yaml", Line: 1, Column: 2}.Errorf("no")
	for _, tc := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{errFailedCalls, ""},
		{errors.New("it broke"), "callq: it broke\n"},
		{errors.New("bad \x1b[2J text"), "callq: bad  [2J text\n"},
		{usageError("it is wrong"), "callq: it is wrong\n"},
		{inConfig, "callq.yaml:1:2: no\n"},
		{errors.Join(errFailedCalls, errors.New("a"), inConfig), "callq: a\ncallq.yaml:1:2: no\n"},
		{yamlfile.Errors{inConfig, inConfig}, "callq.yaml:1:2: no\ncallq.yaml:1:2: no\n"},
		{fmt.Errorf("waiting: %w", context.Canceled), "callq: interrupted\n"},
	} {
		var out bytes.Buffer
		(&app{stderr: &out}).report(tc.err)
		if out.String() != tc.want {
			t.Errorf("%v: got %q, want %q", tc.err, out.String(), tc.want)
		}
	}
}
