package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/internal/programtest"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

// waitsHome is a folder with a configuration for a server and a simulated API.
func waitsHome(t *testing.T) (*home, *redistest.Server) {
	t.Helper()
	h, server := newHome(t, ""), redistest.Redis(t)
	_, api := simulate(t, simapi.Config{})
	h.write("callq.yaml", fmt.Sprintf("redis: %q\nadmin: {listen: \"127.0.0.1:0\"}\nupstreams: {api: {base_url: %q, policy: patsnap}}\n", server.URL, api))
	h.write("other.yaml", fmt.Sprintf("redis: %q\nadmin: {listen: \"127.0.0.1:0\"}\nupstreams: {other: {base_url: %q, policy: patsnap}}\n", server.URL, api))
	h.write("calls.jsonl", `{"key":"k","path":"/a"}`)
	return h, server
}

func (h *home) says(errs *programtest.Log, text string) {
	h.t.Helper()
	await(h.t, "it says "+text, func() bool { return strings.Contains(errs.String(), text) })
}

func TestARunSaysThatItsQueueIsPausedAndContinuesWhenItIsResumed(t *testing.T) {
	t.Parallel()
	h, server := waitsHome(t)
	if err := server.Client.Set(t.Context(), "asynq:{api}:paused", 1, 0).Err(); err != nil {
		t.Fatal(err)
	}
	errs, _, end := h.start("run", "calls.jsonl")
	h.says(errs, "api: 1 call waits: the queue api is paused by an operator; it ends when it is resumed; resume it where it was paused (asynqmon)")
	if err := server.Client.Del(t.Context(), "asynq:{api}:paused").Err(); err != nil {
		t.Fatal(err)
	}
	if got := end(); got != exitOK {
		t.Errorf("exit status %d\n%s", got, errs)
	}
}

func TestTheForecastIsNotEarlierThanTheLastDueCall(t *testing.T) {
	t.Parallel()
	h, _ := waitsHome(t)
	h.write("calls.jsonl", `{"key":"k","path":"/a"}
{"key":"l","path":"/a","not_before":"2099-01-01T00:00:00Z"}
`)
	errs, signal, end := h.start("run", "calls.jsonl")
	h.says(errs, "api: 1 call waits: not_before, until 2099-01-01 00:00:00; then the call is made")
	h.says(errs, "1 of 2 calls have ended (50%); api: not_before, until 2099-01-01 00:00:00")
	if strings.Contains(errs.String(), "left") {
		t.Errorf("it forecasts an end:\n%s", errs)
	}
	signal(os.Interrupt)
	if got := end(); got != exitFailed {
		t.Errorf("exit status %d\n%s", got, errs)
	}
}

func TestBatchWaitAndSendWaitSurviveARestartOfRedis(t *testing.T) {
	t.Parallel()
	h, server := waitsHome(t)
	// Data that is not on disk yet may be lost when Redis is killed.
	if err := server.Client.ConfigSet(t.Context(), "appendfsync", "always").Err(); err != nil {
		t.Fatal(err)
	}
	h.callq(exitOK, "send", "calls.jsonl", "--batch", "b")
	waits, _, waited := h.start("batch", "wait", "b")
	sends, _, sent := h.start("send", "GET", "/b", "--key", "one", "--wait")
	for _, errs := range []*programtest.Log{waits, sends} {
		h.says(errs, "no worker is running")
	}
	server.Kill()
	for _, errs := range []*programtest.Log{waits, sends} {
		h.says(errs, "calls wait: Redis at ")
	}
	server.Restart()
	for _, errs := range []*programtest.Log{waits, sends} {
		h.says(errs, "Redis answers again")
	}
	_, signal, end := h.start("work")
	for i, ended := range []func() int{waited, sent} {
		if got := ended(); got != exitOK {
			t.Errorf("%d: exit status %d\n%s%s", i, got, waits, sends)
		}
	}
	signal(os.Interrupt)
	if got := end(); got != exitOK {
		t.Errorf("work: exit status %d", got)
	}
}

func TestCallsOfAnUnconfiguredUpstreamAreReported(t *testing.T) {
	t.Parallel()
	h, _ := waitsHome(t)
	h.callq(exitOK, "send", "calls.jsonl", "--batch", "b")
	const named = "api: 1 call waits: no worker, including this process, has the upstream api in its configuration, since "
	log, signal, end := h.start("work", "--config", "other.yaml")
	h.says(log, named)
	waits, stop, waited := h.start("batch", "wait", "b", "--config", "other.yaml")
	h.says(waits, named)
	stop(os.Interrupt)
	waited()
	if out, _ := h.callq(exitFailed, "doctor", "--config", "other.yaml"); !strings.Contains(out, "finding  waits        "+named) {
		t.Errorf("doctor says:\n%s", out)
	}
	for _, command := range [][]string{{"batch", "status", "b"}, {"circuit", "list"}} {
		if out, _ := h.callq(exitOK, append(command, "--config", "other.yaml")...); !strings.Contains(out, named) {
			t.Errorf("%v says:\n%s", command, out)
		}
	}
	signal(os.Interrupt)
	if got := end(); got != exitOK {
		t.Errorf("work: exit status %d\n%s", got, log)
	}
}
