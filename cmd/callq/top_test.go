package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/worker/history"
	"github.com/seed-2903acc3/callq/worker/limit"
	"github.com/seed-2903acc3/callq/worker/overview"
	"github.com/seed-2903acc3/callq/worker/waiting"
)

var topNow = time.Date(2026, 5, 4, 18, 0, 0, 0, time.Local)

// busyState is a state with one of everything.
func busyState() topState {
	minutes := make([]history.Minute, 60)
	minutes[58].Counts = map[history.Outcome]int64{history.Done: 50, history.Retried: 50}
	minutes[59].Counts = map[history.Outcome]int64{history.Done: 10}
	return topState{
		Overview: &overview.Overview{
			Now: topNow,
			Upstreams: []overview.Upstream{{
				Name: "sim", Circuit: overview.Circuit{State: overview.Paused, Reason: "quota", Until: topNow.Add(95 * time.Second)},
				Endpoints: []overview.Circuit{{Name: "sim~GET~/a", State: overview.Testing, Reason: "permission"}},
				Inflight:  2, Concurrency: 16, Waiting: 1234, Dead: map[string]int64{"auth": 1, "unknown": 2}, Minutes: minutes,
				Limits: []limit.Usage{
					{Text: "5000/day", Kind: limit.KindWindow, Used: 2500, Of: 5000, Unit: "calls", Resets: topNow.Add(3 * time.Hour)},
					{Text: "adaptive", Note: "now 12/s", Kind: limit.KindRate, Used: 1, Of: 1, Unit: "calls"},
					{Text: "8 USD/month", Kind: limit.KindBudget, Used: 2, Of: 8, Unit: "USD", Resets: topNow.Add(48 * time.Hour)},
				},
			}},
			Waits:  []waiting.Reason{{Kind: waiting.Hold, Name: "sim", Calls: 3, Why: "held", Ends: "then it ends"}},
			Groups: []overview.DeadGroup{{Name: "0a1b2c3d", Count: 3, Class: "auth", Code: "401", Message: "Not accepted."}},
		},
		Batches: []overview.Batch{
			{Name: "night", Accepted: 10, Open: 4, Done: 6, PerMinute: 60, Ends: topNow.Add(2 * time.Minute)},
			{Name: "old", Accepted: 1, Done: 1}, {Name: "stuck", Accepted: 1, Open: 1, NoEnd: "sim: no worker makes its calls"},
		},
	}
}

func TestTopShowsWhatIsPausedWhatIsUsedAndHowFarBatchesAre(t *testing.T) {
	got := strings.Join(busyState().lines(0), "\n")
	want := `callq  18:00:00  1 of 1 account paused

UPSTREAM    STATE                               IN PROGRESS  WAITING  CAN START  DEAD  LAST MINUTES
sim         paused for 1m 35s (quota)           2 of 16      1,234    0          3                       █▁ up to 100/min
sim~GET~/a  testing with one call (permission)

UPSTREAM  LIMIT        USED
sim       5000/day     ██████████░░░░░░░░░░ 2,500 of 5,000 calls, afresh in 3h
sim       adaptive     ████████████████████ 100%, now 12/s
sim       8 USD/month  █████░░░░░░░░░░░░░░░ 2.00 of 8.00 USD, afresh in 2d

BATCH  ACCEPTED  OPEN  DONE  DEAD  DROPPED  RATE    ENDS
night  10        4     6     0     0        60/min  in about 2m
old    1         0     1     0     0                ended
stuck  1         1     0     0     0                sim: no worker makes its calls

DEAD  GROUP     CLASS  CODE  MESSAGE
3     0a1b2c3d  auth   401   Not accepted.

What calls wait for
  sim: 3 calls wait: held; then it ends`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestTopSaysThatNothingWasEverSent(t *testing.T) {
	state := topState{Overview: &overview.Overview{Now: topNow}}
	if got := state.lines(0); len(got) != 1 || !strings.Contains(got[0], "no call was ever sent") {
		t.Errorf("got %q", got)
	}
}

func TestAFrameIsNeverHigherThanTheTerminal(t *testing.T) {
	lines := busyState().lines(0)
	for _, height := range []int{2, 5, 80} {
		got := clipped(lines, height)
		if len(got) > height-1 && height < len(lines) || height == 80 && len(got) != len(lines) {
			t.Errorf("height %d: %d lines", height, len(got))
		}
	}
	if got := clipped(lines, 0); len(got) != len(lines) {
		t.Errorf("an unknown height cuts to %d lines", len(got))
	}
}

func TestOneLineTellsHowFarABatchIs(t *testing.T) {
	got := watchedText(busyState().Batches[0], topNow)
	if want := "batch night: 6 of 10 calls ended; 6 done, 0 dead, 0 dropped; 60/min; ends in about 2m"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	got = watchedText(busyState().Batches[2], topNow)
	if want := "batch stuck: 0 of 1 call ended; 0 done, 0 dead, 0 dropped; sim: no worker makes its calls"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestALongSentenceIsWrappedToTheTerminal(t *testing.T) {
	state := busyState()
	state.Waits[0].Why = "held by quota 67200001: API call exceeds the total limit set by the platform"
	got := state.lines(40)
	want := []string{
		"  sim: 3 calls wait: held by quota", "      67200001: API call exceeds the", "      total limit set by the platform;", "      then it ends",
	}
	if tail := got[len(got)-len(want):]; !slices.Equal(tail, want) {
		t.Errorf("got %q, want %q", tail, want)
	}
}
