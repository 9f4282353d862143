package worker_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/internal/programtest"
	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
)

func TestAWorkerLogsHoldsTheirEndsAndFailedAttempts(t *testing.T) {
	t.Parallel()
	log := &programtest.Log{}
	env := callqtest.New(t, worker.Config{Logger: slog.New(slog.NewTextHandler(log, nil))})
	env.Sim().Script("GET /quota -> 67200001 retry-after=4; ok\nGET /bad/* -> 67200005 forever")
	env.Start()
	for _, path := range []string{"/bad/1", "/bad/2"} {
		want(t, env.Await(env.Submit(tasks.Call{Path: path}).ID), tasks.StateDead, policy.ClassBalance, 1)
	}
	id := env.Submit(tasks.Call{Path: "/quota"}).ID
	awaitTrue(t, "the log to say that calls are paused", func() bool {
		return strings.Contains(log.String(), `msg="calls are paused" circuit=`+callqtest.Upstream) && strings.Contains(log.String(), "reason=quota")
	})
	want(t, env.Await(id), tasks.StateDone, policy.ClassOK, 1)
	awaitTrue(t, "the log to say that calls start again", func() bool {
		return strings.Contains(log.String(), `msg="calls start again" circuit=`+callqtest.Upstream)
	})
	for _, want := range []string{
		`level=WARN msg="an attempt failed" upstream=` + callqtest.Upstream, " action=dead_letter class=balance rule=", " error_code=67200005 error_message=",
		`level=INFO msg="an attempt failed"`, " action=park class=quota rule=", " error_code=67200001 ", " correlation_id=", " wait=",
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%s is not in:\n%s", want, log)
		}
	}
}

func TestTheCountOfRepeatedFailuresIsLoggedWhenTheWorkerEnds(t *testing.T) {
	t.Parallel()
	log := &programtest.Log{}
	env := callqtest.New(t, worker.Config{Logger: slog.New(slog.NewJSONHandler(log, nil))})
	env.Sim().Script("GET /old/* -> http:410 forever")
	env.Start()
	for n := range 9 {
		want(t, env.Await(env.Submit(tasks.Call{Path: fmt.Sprint("/old/", n)}).ID), tasks.StateDropped, policy.ClassBadParameter, 1)
	}
	env.Stop()
	if n := strings.Count(log.String(), `"msg":"an attempt failed"`); n != 4 || strings.Count(log.String(), `"repeated":6`) != 1 {
		t.Errorf("%d lines:\n%s", n, log)
	}
}

// It changes the logger of the whole process, so that it runs beside no other test.
func TestAWorkerWithoutALoggerLogsOnce(t *testing.T) {
	log := &programtest.Log{}
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(log, nil)))
	defer slog.SetDefault(before)
	env := callqtest.New(t, worker.Config{})
	env.Sim().Script("GET /bad/1 -> 67200005\nGET /bad/2 -> 67200003 forever")
	env.Start()
	want(t, env.Await(env.Submit(tasks.Call{Path: "/bad/1"}).ID), tasks.StateDead, policy.ClassBalance, 1)
	want(t, env.Await(env.Submit(tasks.Call{Path: "/bad/2"}).ID), tasks.StateDead, policy.ClassAuth, 1)
	if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), "set worker.Config.Logger") || !strings.Contains(log.String(), "code=67200005") {
		t.Errorf("%d lines were logged, want one:\n%s", n, log)
	}
}
