package main

import (
	"context"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-2903acc3/callq/tasks/ledger"
)

func TestARedriveKeepsItsPaceAndMakesUpForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var at []time.Duration
		v := &deadVerb{
			app:   &app{stdout: io.Discard, stderr: io.Discard, quiet: true},
			takes: func(ledger.Record) string { return "" },
			act: func(context.Context, *desk, ledger.Record) (bool, bool, error) {
				at = append(at, time.Since(began))
				if len(at) == 3 {
					time.Sleep(100 * time.Millisecond) // the bubble's clock: Redis is slow for once
				}
				return true, false, nil
			},
		}
		gap, err := parseRate("50/s")
		if err != nil {
			t.Fatal(err)
		}
		out, err := v.each(t.Context(), nil, func(yield func(ledger.Record, error) bool) {
			for i := range 5 {
				if !yield(ledger.Record{ID: fmt.Sprint(i), State: ledger.Dead}, nil) {
					return
				}
			}
		}, gap)
		if err != nil || out.did != 5 {
			t.Fatalf("%+v, %v", out, err)
		}
		if want := []time.Duration{0, 20 * time.Millisecond, 40 * time.Millisecond, 140 * time.Millisecond, 160 * time.Millisecond}; fmt.Sprint(at) != fmt.Sprint(want) {
			t.Errorf("redriven at %v, want %v", at, want)
		}
	})
}
