package tasks

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// lettersOf yields n dead letters.
func lettersOf(n int) iter.Seq2[ledger.Record, error] {
	return func(yield func(ledger.Record, error) bool) {
		for i := range n {
			if !yield(ledger.Record{ID: fmt.Sprint(i), Queue: "q", State: ledger.Dead}, nil) {
				return
			}
		}
	}
}

func TestARedriveKeepsItsPaceAfterADelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var at []time.Duration
		n, err := changeAll(t.Context(), lettersOf(5), Pace{Every: 20 * time.Millisecond}, func(_ context.Context, list []ledger.Record) []error {
			at = append(at, time.Since(began))
			if len(at) == 3 {
				time.Sleep(100 * time.Millisecond) // by the bubble's clock: Redis is slow once
			}
			return make([]error, len(list))
		})
		if err != nil || n != (Changed{Selected: 5, Applied: 5}) {
			t.Fatalf("got %+v, %v", n, err)
		}
		if want := []time.Duration{0, 20 * time.Millisecond, 40 * time.Millisecond, 140 * time.Millisecond, 160 * time.Millisecond}; fmt.Sprint(at) != fmt.Sprint(want) {
			t.Errorf("got redrives at %v, want %v", at, want)
		}
	})
}

func TestNoCallIsChangedBeforeItsTimeAndTheRateIsExact(t *testing.T) {
	for _, every := range []time.Duration{time.Second, 20 * time.Millisecond, 5 * time.Millisecond, 3 * time.Millisecond, time.Millisecond, 100 * time.Microsecond, time.Microsecond} {
		t.Run(every.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const calls = 1003
				var mu sync.Mutex
				began, changed, scripts := time.Now(), 0, 0
				n, err := changeAll(t.Context(), lettersOf(calls), Pace{Every: every}, func(_ context.Context, list []ledger.Record) []error {
					mu.Lock()
					defer mu.Unlock()
					scripts++
					changed += len(list)
					if due := time.Duration(changed-1) * every; time.Since(began) < due {
						t.Errorf("call %d is changed after %v, and is due after %v", changed, time.Since(began), due)
					}
					return make([]error, len(list))
				})
				if err != nil || n.Applied != calls {
					t.Fatalf("got %+v, %v", n, err)
				}
				if took, want := time.Since(began), (calls-1)*every; took != want {
					t.Errorf("%d calls took %v, want %v", calls, took, want)
				}
				most := min(max(int(paceStep/every), 1), ledger.MaxChanged)
				if want := (calls + most - 1) / most; scripts != want {
					t.Errorf("got %d scripts, want %d", scripts, want)
				}
			})
		})
	}
}

// A filter may match one of ten thousand dead letters.
func TestACallThatIsSelectedDoesNotWaitForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var mu sync.Mutex
		var at []time.Duration
		rare := func(yield func(ledger.Record, error) bool) {
			for range 3 {
				if !yield(ledger.Record{ID: "call", Queue: "q"}, nil) {
					return
				}
				time.Sleep(time.Minute) // by the bubble's clock: others are read, and do not match
			}
		}
		_, err := changeAll(t.Context(), rare, Pace{}, func(context.Context, []ledger.Record) []error {
			mu.Lock()
			defer mu.Unlock()
			at = append(at, time.Since(began))
			return []error{nil}
		})
		if want := []time.Duration{paceStep, time.Minute + paceStep, 2*time.Minute + paceStep}; err != nil || fmt.Sprint(at) != fmt.Sprint(want) {
			t.Errorf("got redrives at %v, want %v; %v", at, want, err)
		}
	})
}

func TestAScriptHasFewCallsOfOneQueueAndEachCallIsInOne(t *testing.T) {
	for seed := range uint64(20) {
		dice := rand.New(rand.NewPCG(seed, 0))
		calls := 1 + dice.IntN(1000)
		queue, missing := "q", 0
		results := map[string]error{}
		records := func(yield func(ledger.Record, error) bool) {
			for i := range calls {
				r, err := ledger.Record{ID: fmt.Sprint(i)}, error(nil)
				switch dice.IntN(50) {
				case 0:
					err = ErrNoCall
					missing++
				case 1:
					queue += "q"
					fallthrough
				default:
					r.Queue = queue
					r.Body = make([]byte, []int{0, 100, ledger.MaxChangedBytes / 40, 2 * ledger.MaxChangedBytes}[dice.IntN(4)*dice.IntN(2)])
				}
				if !yield(r, err) {
					return
				}
			}
		}
		pace := Pace{OnCall: func(id string, err error) {
			if _, twice := results[id]; twice {
				t.Errorf("seed %d: two results for call %s", seed, id)
			}
			results[id] = err
		}}
		n, err := changeAll(t.Context(), records, pace, func(_ context.Context, list []ledger.Record) []error {
			bytes := 0
			errs := make([]error, len(list))
			for i, r := range list {
				if r.Queue != list[0].Queue {
					t.Errorf("seed %d: a script has calls of %s and %s", seed, r.Queue, list[0].Queue)
				}
				bytes += len(r.Body)
				errs[i] = []error{nil, ErrChanged, ErrBusy}[len(r.ID)%3]
			}
			if len(list) > ledger.MaxChanged || len(list) > 1 && bytes > ledger.MaxChangedBytes {
				t.Errorf("seed %d: a script has %d calls of %d bytes", seed, len(list), bytes)
			}
			return errs
		})
		if err != nil || n.Selected != calls || len(results) != calls || n.Applied+n.Moved+n.Failed != calls {
			t.Errorf("seed %d: got %+v and %d results of %d calls, %v", seed, n, len(results), calls, err)
		}
		for id, got := range results {
			if errors.Is(got, ErrNoCall) {
				missing--
			} else if want := []error{nil, ErrChanged, ErrBusy}[len(id)%3]; !errors.Is(got, want) {
				t.Errorf("seed %d: call %s: got %v, want %v", seed, id, got, want)
			}
		}
		if missing != 0 {
			t.Errorf("seed %d: %d ids without a call have another result", seed, missing)
		}
	}
}

func TestAFailureOfRedisStopsTheChangeAndCountsWhatWasDone(t *testing.T) {
	down := errors.New("Redis is down")
	scripts := 0
	var mu sync.Mutex
	n, err := changeAll(t.Context(), lettersOf(100_000), Pace{}, func(_ context.Context, list []ledger.Record) []error {
		mu.Lock()
		defer mu.Unlock()
		if scripts++; scripts > 3 {
			return slices.Repeat([]error{down}, len(list))
		}
		return make([]error, len(list))
	})
	if !errors.Is(err, down) || n.Applied == 0 || n.Applied > 3*ledger.MaxChanged || n.Selected != n.Applied {
		t.Errorf("got %+v, %v", n, err)
	}
	bad := errors.New("the list cannot be read")
	some := func(yield func(ledger.Record, error) bool) {
		lettersOf(250)(yield)
		yield(ledger.Record{}, bad)
	}
	n, err = changeAll(t.Context(), some, Pace{}, func(_ context.Context, list []ledger.Record) []error { return make([]error, len(list)) })
	if !errors.Is(err, bad) || n.Applied != 250 {
		t.Errorf("got %+v, %v", n, err)
	}
}

func TestACallThatItsWorkerStillHoldsDoesNotKeepTheOthersOfItsScript(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := map[int]int{}
		errs := []error{nil, nil, ErrOpen, nil, nil}
		whenFree(t.Context(), errs, func(_ context.Context, which []int) ([]ledger.Change, error) {
			changes := make([]ledger.Change, len(which))
			for k, i := range which {
				tries[i]++
				switch {
				case i == 0, i == 1 && tries[i] == 3:
					changes[k] = ledger.Changed
				case i == 4:
					changes[k] = ledger.Unchanged
				default:
					changes[k] = ledger.StillHeld
				}
			}
			return changes, nil
		})
		if want := []error{nil, nil, ErrOpen, ErrBusy, ErrChanged}; !slices.Equal(errs, want) {
			t.Errorf("got %v, want %v", errs, want)
		}
		if fmt.Sprint(tries) != "map[0:1 1:3 3:5 4:1]" {
			t.Errorf("got tries %v", tries)
		}
	})
}
