package pause

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestForWaitsForTheDurationOrTheEndOfTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if err := For(t.Context(), time.Minute); err != nil || time.Since(began) != time.Minute {
			t.Errorf("got a wait of %s, %v", time.Since(began), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		if err := For(ctx, time.Minute); err != context.DeadlineExceeded || time.Since(began) != time.Second {
			t.Errorf("got a wait of %s, %v", time.Since(began), err)
		}
	})
}
