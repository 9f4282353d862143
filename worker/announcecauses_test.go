package worker

import (
	"fmt"
	"log/slog"
	"testing"
)

func TestCausesOfDeadLettersAreRememberedUpToABound(t *testing.T) {
	a := newAnnouncements(slog.New(slog.DiscardHandler), nil)
	for i := range mostCauses {
		if c := (cause{code: fmt.Sprint(i)}); !a.isNew(c) || a.isNew(c) {
			t.Fatalf("cause %d is not new exactly once", i)
		}
	}
	for i := range 10 {
		if a.isNew(cause{class: fmt.Sprint(i)}) {
			t.Error("a cause past the bound is new")
		}
	}
	if len(a.causes) != mostCauses {
		t.Errorf("%d causes are remembered, want %d", len(a.causes), mostCauses)
	}
}
