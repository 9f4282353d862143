package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
)

// deadLetters makes n dead letters on a Redis of their own.
func deadLetters(t *testing.T, n int) (*redistest.Server, *ledger.Ledger) {
	t.Helper()
	server := redistest.Redis(t)
	// However many they are, they are not an outage.
	hopeless, err := policy.Parse("hopeless.yaml", []byte(`version: 1
name: hopeless
extends: patsnap
rules:
  - {id: hopeless, match: {http: [504]}, class: unknown, job: dead_letter, circuit: {effect: none}}
`))
	if err != nil {
		t.Fatal(err)
	}
	env := callqtest.New(t, worker.Config{Redis: server.Client, Upstreams: []worker.Upstream{{Name: callqtest.Upstream, Policy: hopeless}}})
	env.Sim().Script(fmt.Sprintf("POST /x -> http:504 x%d", n))
	for i := range n {
		env.Submit(tasks.Call{Method: "POST", Path: "/x", Key: fmt.Sprint(i), Batch: "b"})
	}
	env.Start()
	env.AwaitBatch("b")
	env.Stop()
	return server, ledger.New(server.Client)
}

func TestAnInterruptedRedriveIsFinishedByTheNextOne(t *testing.T) {
	server, l := deadLetters(t, 3)
	redrive := func(ctx context.Context, args ...string) (string, int) {
		var out bytes.Buffer
		env := func(name string) string { return map[string]string{"CALLQ_REDIS": server.URL}[name] }
		status := run(ctx, append([]string{"dead", "redrive", "--all", "--yes"}, args...), nil, &out, io.Discard, env)
		return out.String(), status
	}
	open := func() int64 {
		b, err := l.Batch(t.Context(), "b")
		if err != nil {
			t.Fatal(err)
		}
		return b.Counts.Open
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan struct{})
	var out string
	var status int
	go func() {
		defer close(ended)
		out, status = redrive(ctx, "--rate", "1/h")
	}()
	tick, deadline := time.NewTicker(10*time.Millisecond), time.After(30*time.Second)
	defer tick.Stop()
	for open() == 0 {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("nothing was redriven")
		}
	}
	cancel()
	<-ended
	if want := "1 call redriven; start the same command again for the rest\n"; out != want || status != exitFailed {
		t.Errorf("interrupted: %q, status %d", out, status)
	}
	if out, status = redrive(t.Context()); out != "2 calls redriven\n" || status != exitOK {
		t.Errorf("again: %q, status %d", out, status)
	}
	if open() != 3 {
		t.Errorf("%d calls are open, want 3", open())
	}
}
