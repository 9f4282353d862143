package filerun

import (
	"testing"

	"github.com/seed-2903acc3/callq/tasks/ledger"
)

func TestAnOpenRecordWithoutASendIsNotTrusted(t *testing.T) {
	for name, c := range map[string]struct {
		record ledger.Record
		want   bool
	}{
		"open, never sent":  {ledger.Record{State: ledger.Open, Generation: 1}, false},
		"in flight":         {ledger.Record{State: ledger.Open, Generation: 1, Sent: 1}, true},
		"to be tried again": {ledger.Record{State: ledger.Open, Generation: 1, Attempts: 1}, true},
		"parked":            {ledger.Record{State: ledger.Open, Generation: 1, Parked: 1}, true},
		"redriven":          {ledger.Record{State: ledger.Open, Generation: 2}, true},
		"ended":             {ledger.Record{State: ledger.Done, Generation: 1, Attempts: 1}, true},
		"cancelled, unsent": {ledger.Record{State: ledger.Cancelled, Generation: 1}, true},
	} {
		if got := hasSend(c.record); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}
