package worker

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

func TestAWorkerThatCannotRecordTriesAgainEveryTwoSecondsForTenMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &Worker{log: slog.New(slog.DiscardHandler), stopped: make(chan struct{})}
		away := errors.New("Redis is away")
		began, last := time.Now(), time.Now()
		err := w.retryWrite(t.Context(), func(context.Context) error {
			if pause := time.Since(last); pause > 2*time.Second {
				t.Fatalf("it paused for %s", pause)
			}
			last = time.Now()
			return away
		})
		if took := time.Since(began); !errors.Is(err, away) || took < retryWriteFor-2*time.Second || took > retryWriteFor {
			t.Errorf("it gave up after %s with %v", took, err)
		}
	})
}
