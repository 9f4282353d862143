package filerun

import (
	"testing"

	"github.com/seed-2903acc3/callq/tasks/ledger"
)

func TestAQueueThatHasLostTheMarkOfASendIsNotBelieved(t *testing.T) {
	for name, c := range map[string]struct {
		record ledger.Record
		knows  bool
	}{
		"open, never sent":  {ledger.Record{State: ledger.Open, Generation: 1}, false},
		"on its way":        {ledger.Record{State: ledger.Open, Generation: 1, Sent: 1}, true},
		"to be tried again": {ledger.Record{State: ledger.Open, Generation: 1, Attempts: 1}, true},
		"parked":            {ledger.Record{State: ledger.Open, Generation: 1, Parked: 1}, true},
		"redriven":          {ledger.Record{State: ledger.Open, Generation: 2}, true},
		"ended":             {ledger.Record{State: ledger.Done, Generation: 1, Attempts: 1}, true},
		"cancelled, unsent": {ledger.Record{State: ledger.Cancelled, Generation: 1}, true},
	} {
		if got := knowsOfSend(c.record); got != c.knows {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
