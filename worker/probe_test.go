package worker

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/tasks/ledger"
)

func TestTheNextProbeIsACallThatCanTestTheAccount(t *testing.T) {
	for _, c := range []struct {
		name string
		// waiting are the calls that wait, the first ones first: "ID METHOD /path".
		waiting   string
		refused   string
		refusedAt string
		next      string
		failed    int
		want      string
		lonely    bool
		alone     bool
	}{
		{name: "the first one that was not refused", waiting: "x /a, y /a, z /a", refused: "x#1", refusedAt: "GET /a", want: "y"},
		{name: "one of another endpoint, where one waits", waiting: "x /a, y /a, z /b", refused: "x#1", refusedAt: "GET /a", want: "z"},
		{name: "numbers in a path are the same endpoint", waiting: "x /a/1, y /a/2, z /b/1", refused: "x#1", refusedAt: "GET /a/*", want: "z"},
		{name: "a call with an unknown endpoint counts for no other endpoint", waiting: "x /a, y , z /b", refused: "x#1", refusedAt: "GET /a", want: "z"},
		{name: "but it may be the probe", waiting: "x /a, y ", refused: "x#1", refusedAt: "GET /a", want: "y"},
		{name: "none that was refused, while another waits", waiting: "x /a, y /a, z /a", refused: "y#1 x#1", refusedAt: "GET /a", want: "z"},
		{name: "where all were refused, the one of longest ago", waiting: "x /a, y /a, z /a", refused: "z#1 y#1 x#1", refusedAt: "GET /a", want: "z", lonely: true},
		{name: "a call that waits alone", waiting: "x /a", refused: "y#1 x#1", refusedAt: "GET /a", want: "x", lonely: true, alone: true},
		{name: "the one that has to be", waiting: "y /a, z /b, x /a", refused: "x#1", refusedAt: "GET /a", next: "x#1", want: "x"},
		{name: "where that one does not wait, another", waiting: "y /a, z /b", refused: "x#1", refusedAt: "GET /a", next: "x#1", want: "z"},
		{name: "a call that was redriven is another one", waiting: "x /a, y /a", refused: "x#2", refusedAt: "GET /a", want: "x"},
		{name: "one that spent an attempt was refused too", waiting: "x /a, y /a", refused: "!x#1", refusedAt: "GET /a", want: "y"},
	} {
		t.Run(c.name, func(t *testing.T) {
			choice := &ledger.ProbeChoice{Refused: strings.Fields(c.refused), RefusedAt: c.refusedAt, Next: c.next, Failed: c.failed}
			for _, one := range strings.Split(c.waiting, ", ") {
				id, path, _ := strings.Cut(one, " ")
				choice.Candidates = append(choice.Candidates, ledger.Candidate{ID: id, Generation: 1, Method: "GET", Path: path})
			}
			probe, lonely, alone := chooseProbe(choice, (&account{}).endpointOf)
			if probe.ID != c.want || lonely != c.lonely || alone != c.alone {
				t.Errorf("got %s, lonely %t, alone %t, want %s, %t, %t", probe.ID, lonely, alone, c.want, c.lonely, c.alone)
			}
		})
	}
}

func TestACallThatHasFailedBeforeIsNowAndThenTheProbeOfAnOutage(t *testing.T) {
	waiting := []ledger.Candidate{{ID: "new"}, {ID: "once", Attempts: 1}, {ID: "again", Attempts: 1}, {ID: "twice", Attempts: 2}, {ID: "last", Attempts: 5}}
	for i := range waiting {
		waiting[i].Generation = 1
	}
	for _, c := range []struct {
		name    string
		waiting []ledger.Candidate
		refused string
		want    string
	}{
		{"the one that has failed most often, but not the last probe", waiting, "!again#1 !last#1", "twice"},
		{"of equal ones the one that was a probe of this outage", waiting[:3], "!again#1 !last#1", "again"},
		{"of these the latest", waiting[:3], "!again#1 !once#1 !last#1", "once"},
		{"none that was never made", waiting[:1], "!last#1", ""},
		{"none where calls are refused and spend no attempt", waiting, "again#1 last#1", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			choice := &ledger.ProbeChoice{Refused: strings.Fields(c.refused), Candidates: c.waiting}
			age := func(one ledger.Candidate) int { return slices.Index(choice.Refused, "!"+one.ID+"#1") }
			for choice.Failed = range 20 {
				want := c.want
				if !slices.Contains([]int{2, 4, 8, 16}, choice.Failed) {
					want = ""
				}
				got := ""
				if tried := chooseTried(choice, age); tried != nil {
					got = tried.ID
				}
				if got != want {
					t.Errorf("after %d failed probes: got %q, want %q", choice.Failed, got, want)
				}
			}
		})
	}
}

func TestAfterFailedProbesTheNextOneComesFromAnywhereInTheQueue(t *testing.T) {
	choice := &ledger.ProbeChoice{Refused: []string{"x#1"}}
	for i := range 48 {
		choice.Candidates = append(choice.Candidates, ledger.Candidate{ID: fmt.Sprint(i), Generation: 1})
	}
	chosen := map[string]bool{}
	for choice.Failed = range 50 {
		probe, _, _ := chooseProbe(choice, (&account{}).endpointOf)
		if choice.Failed < 2 && probe.ID != "0" {
			t.Errorf("after %d failed probes %s is the next one, want the first in the queue", choice.Failed, probe.ID)
		}
		chosen[probe.ID] = true
	}
	if len(chosen) != len(choice.Candidates) {
		t.Errorf("%d of %d candidates were looked at", len(chosen), len(choice.Candidates))
	}
}
