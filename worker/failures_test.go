package worker

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// lineLog is a log that is read while others write to it.
type lineLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lineLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// take returns what was written since the last call.
func (l *lineLog) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.b.Reset()
	return l.b.String()
}

// textLog returns a logger into a log, without times.
func textLog(level slog.Level) (*slog.Logger, *lineLog) {
	out := &lineLog{}
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})), out
}

// busyAPI is a failure of an API, of the call with that number.
func busyAPI(n int) failure {
	return failure{
		failureKind: failureKind{AttemptFailed, "api", "transient", "busy", "api-busy", "retry"},
		level:       slog.LevelInfo, call: fmt.Sprint("id-", n), batch: "b", key: fmt.Sprint("row-", n), attempt: 2, status: 503,
		code: "busy", text: "try later", correlationID: "x1",
	}
}

// lines returns the lines that were logged since the last call.
func lines(out *lineLog) []string {
	return strings.Split(strings.TrimSuffix(out.take(), "\n"), "\n")
}

func TestTheFirstFailuresOfAKindAreLoggedAndThenOneLineAMinuteCountsThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, out := textLog(slog.LevelInfo)
		f := newFailures(log, slog.LevelDebug)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			f.run(ctx)
			f.flush(ctx)
			close(ended)
		}()
		for n := range 10 {
			f.note(ctx, busyAPI(n))
		}
		got := lines(out)
		if len(got) != failuresInFull || !strings.Contains(got[0], `call=id-0`) || !strings.Contains(got[2], "call=id-2") || strings.Contains(got[2], "repeated") {
			t.Fatalf("logged %q", got)
		}
		time.Sleep(repeatsEvery + time.Second)
		synctest.Wait()
		got = lines(out)
		if len(got) != 1 || !strings.Contains(got[0], "call=id-9") || !strings.Contains(got[0], "repeated=7") {
			t.Fatalf("after a minute %q", got)
		}
		// The kind was logged often enough already: only its count follows, and at the end.
		f.note(ctx, busyAPI(10))
		f.note(ctx, busyAPI(11))
		if said := out.take(); said != "" {
			t.Errorf("logged %s", said)
		}
		cancel()
		<-ended
		if got = lines(out); len(got) != 1 || !strings.Contains(got[0], "call=id-11") || !strings.Contains(got[0], "repeated=2") {
			t.Errorf("at the end %q", got)
		}
	})
}

func TestAKindWithoutFailuresForAMinuteIsLoggedAnew(t *testing.T) {
	log, out := textLog(slog.LevelInfo)
	f := newFailures(log, slog.LevelDebug)
	for n := range 5 {
		f.note(t.Context(), busyAPI(n))
	}
	f.flush(t.Context()) // it counts two
	f.flush(t.Context()) // a minute without failures
	lines(out)
	f.note(t.Context(), busyAPI(6))
	if got := lines(out); len(got) != 1 || !strings.Contains(got[0], "call=id-6") || strings.Contains(got[0], "repeated") {
		t.Errorf("logged %q", got)
	}
}

func TestFailuresOfAnotherUpstreamClassCodeRuleOrActionHaveLinesOfTheirOwn(t *testing.T) {
	log, out := textLog(slog.LevelInfo)
	f := newFailures(log, slog.LevelDebug)
	for n := range failuresInFull {
		f.note(t.Context(), busyAPI(n))
	}
	lines(out)
	for what, change := range map[string]func(*failureKind){
		"upstream": func(k *failureKind) { k.upstream = "other" }, "class": func(k *failureKind) { k.class = "quota" },
		"code": func(k *failureKind) { k.code = "17" }, "rule": func(k *failureKind) { k.rule = "r" }, "action": func(k *failureKind) { k.action = "park" },
	} {
		one := busyAPI(9)
		change(&one.failureKind)
		f.note(t.Context(), one)
		if got := lines(out); len(got) != 1 || !strings.Contains(got[0], "call=id-9") {
			t.Errorf("another %s: logged %q", what, got)
		}
	}
}

func TestKindsPastTheBoundShareALine(t *testing.T) {
	log, out := textLog(slog.LevelInfo)
	f := newFailures(log, slog.LevelDebug)
	for n := range maxFailureKinds + 50 {
		one := busyAPI(n)
		one.failureKind.code = fmt.Sprint(n)
		f.note(t.Context(), one)
	}
	if len(f.kinds) != maxFailureKinds+1 {
		t.Errorf("%d kinds are told apart", len(f.kinds))
	}
	lines(out)
	f.flush(t.Context())
	if got := lines(out); len(got) != 1 || !strings.Contains(got[0], fmt.Sprint("repeated=", 50-failuresInFull)) || !strings.Contains(got[0], "error_code=busy") {
		t.Errorf("logged %q", got)
	}
}

func TestALineOfAFailureHasEverythingThatIsKnown(t *testing.T) {
	log, out := textLog(slog.LevelInfo)
	f := newFailures(log, slog.LevelDebug)
	one := busyAPI(1)
	one.level, one.endpoint, one.transport, one.advice = slog.LevelWarn, "GET /x", "dial", "Wait."
	one.next, one.wait = time.Date(2026, 5, 1, 10, 0, 0, 0, time.FixedZone("", 7200)), 90*time.Second
	f.note(t.Context(), one)
	want := `level=WARN msg="an attempt failed" upstream=api call=id-1 batch=b key=row-1 attempt=2 action=retry class=transient rule=api-busy ` +
		`error_code=busy error_message="try later" correlation_id=x1 endpoint="GET /x" transport=dial advice=Wait. status=503 next=2026-05-01T08:00:00Z wait=1m30s`
	if got := lines(out); len(got) != 1 || got[0] != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestFailuresBelowTheLevelAreNeitherLoggedNorCounted(t *testing.T) {
	log, _ := textLog(slog.LevelWarn)
	for what, f := range map[string]*failures{"the logger's": newFailures(log, slog.LevelDebug), "the least": newFailures(slog.New(slog.DiscardHandler), slog.LevelWarn)} {
		if f.enabled(t.Context(), slog.LevelInfo) {
			t.Errorf("%s: enabled", what)
		}
	}
	if f := newFailures(log, slog.LevelDebug); !f.enabled(t.Context(), slog.LevelWarn) {
		t.Error("not enabled at its level")
	}
}
