package schedule

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

func TestAScheduleStartsWhenAWorkerFirstRunsIt(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		f := newFleet(t, rdb)
		w := f.worker(nil)
		f.runUntilIdle(w)
		f.wantBatches("")
		f.wantLogged(1, "a schedule starts")
		f.set("01:59:50")
		if wait, err := w.step(t.Context()); wait != 10*time.Second || err != nil {
			t.Errorf("ten seconds before the tick: got a wait of %s, %v", wait, err)
		}
		f.set("02:00:00")
		f.runUntilIdle(w)
		f.wantBatches("nightly-20260504T020000Z=3")
		f.wantLogged(0, "missed")
	})
}

func TestWorkersThatTryAtOnceSendOneBatch(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		f := newFleet(t, rdb)
		f.write(calls(700)) // more than one chunk
		var workers []*runner
		for range 8 {
			workers = append(workers, f.worker(nil))
		}
		f.runUntilIdle(workers...)
		for _, clock := range []string{"02:00:00", "03:00:01"} {
			f.set(clock)
			f.runUntilIdle(workers...)
		}
		f.wantBatches("nightly-20260504T020000Z=700 nightly-20260504T030000Z=700")
		f.wantLogged(2, "the file of a schedule was sent")
		sent := f.state().Sent
		if sent.Accepted != 700 || sent.Duplicate != 0 || !sent.Tick.Equal(at("03:00:00")) || !sent.At.Equal(at("03:00:01")) || sent.Who != "worker" {
			t.Errorf("recorded: got %+v", sent)
		}
	})
}

// anyAccepted reports whether a call of a batch has been accepted.
func (f *fleet) anyAccepted(batch string) bool {
	b, err := ledger.New(f.rdb).Batch(context.Background(), batch)
	return err == nil && b.Counts.Accepted > 0
}

func TestTheBatchOfADeadWorkerIsCompletedByAnother(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		f := newFleet(t, rdb)
		f.write(calls(600))
		const batch = "nightly-20260504T020000Z"
		lost := f.worker(f.clientWith(&cut{after: func() bool { return f.anyAccepted(batch) }}))
		lost.lease = time.Second
		f.runUntilIdle(lost)
		f.set("02:00:00")
		if _, err := lost.step(t.Context()); err == nil {
			t.Fatal("the worker did not lose its connection")
		}
		before, err := ledger.New(rdb).Batch(t.Context(), batch)
		if err != nil || before.Counts.Accepted == 0 || before.Counts.Accepted == 600 {
			t.Fatalf("got %d calls before the connection was cut, %v; want a part of the batch", before.Counts.Accepted, err)
		}
		if st := f.state(); !st.Sending.Equal(at("02:00:00")) || st.Sent != nil {
			t.Errorf("recorded: got %+v", st)
		}
		// Almost an hour later: a batch that was begun is completed however old it is.
		f.set("02:59:00")
		f.runUntilIdle(f.worker(nil), f.worker(nil))
		f.wantBatches(batch + "=600")
		f.wantLogged(1, "completing a batch that another worker began")
		f.wantLogged(0, "missed")
		if st := f.state(); !st.Sending.IsZero() || st.Sent.Accepted+st.Sent.Duplicate != 600 || st.Sent.Duplicate < int(before.Counts.Accepted) {
			t.Errorf("recorded: got %+v", st.Sent)
		}
	})
}

func TestAWorkerThatStopsReleasesItsLockAtOnce(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		f := newFleet(t, rdb)
		f.write(calls(600))
		const batch = "nightly-20260504T020000Z"
		ctx, cancel := context.WithCancel(t.Context())
		stopping := f.worker(f.clientWith(&cut{after: func() bool {
			if f.anyAccepted(batch) {
				cancel()
			}
			return false
		}}))
		stopping.lease = time.Hour
		f.runUntilIdle(stopping)
		f.set("02:00:00")
		if _, err := stopping.step(ctx); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
		f.runUntilIdle(f.worker(nil))
		f.wantBatches(batch + "=600")
	})
}

func TestAWorkerThatLostItsLockStops(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		f := newFleet(t, rdb)
		w := f.worker(nil)
		w.lease = 30 * time.Millisecond
		l, err := w.lock(t.Context())
		if err != nil || l == nil {
			t.Fatal(err)
		}
		if other, err := w.lock(t.Context()); other != nil || err != nil {
			t.Fatalf("two workers have the lock, %v", err)
		}
		lost := make(chan struct{})
		go l.renew(t.Context(), func() { close(lost) })
		if err := rdb.Set(t.Context(), lockKey("nightly"), "another's", 0).Err(); err != nil {
			t.Fatal(err)
		}
		<-lost
		if err := l.write(t.Context(), fieldSent, "{}"); !errors.Is(err, errLost) {
			t.Errorf("a worker without the lock can still write: %v", err)
		}
		l.release(t.Context())
		if got := rdb.Get(t.Context(), lockKey("nightly")).Val(); got != "another's" {
			t.Errorf("release changed the other worker's lock to %q", got)
		}
		if wait, err := w.step(t.Context()); wait != lookAgain || err != nil {
			t.Errorf("got a wait of %s, %v; want to wait for the other worker", wait, err)
		}
	})
}

func TestMissedTicksAreReportedOnceAndNotSent(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		f := newFleet(t, rdb)
		f.runUntilIdle(f.worker(nil))
		f.set("04:30:00") // no worker ran at two, three and four
		if over := f.state().Overdue(f.schedule.Calendar, at("04:30:00")); over == nil || over.Count != 3 {
			t.Errorf("overdue: got %+v, want 3", over)
		}
		var workers []*runner
		for range 8 {
			workers = append(workers, f.worker(nil))
		}
		f.runUntilIdle(workers...)
		f.runUntilIdle(workers...)
		f.wantBatches("")
		f.wantLogged(1, "a schedule missed ticks")
		f.wantLogged(1, "missed=3 first=2026-05-04T02:00:00.000Z last=2026-05-04T04:00:00.000Z by_hand=\"callq send "+
			f.schedule.File+" --batch nightly-20260504T040000Z\"")
		if got := f.state().Missed; got.Count != 3 || !got.First.Equal(at("02:00:00")) || !got.Last.Equal(at("04:00:00")) {
			t.Errorf("recorded: got %+v", got)
		}
		if over := f.state().Overdue(f.schedule.Calendar, at("04:30:00")); over != nil {
			t.Errorf("overdue after the report: got %+v, want none", over)
		}
		f.set("05:00:00")
		f.runUntilIdle(workers...)
		f.wantBatches("nightly-20260504T050000Z=3")
		f.wantLogged(1, "a schedule missed ticks")
	})
}

func TestTheLatestTickIsSentUpToAMinuteLate(t *testing.T) {
	for late, want := range map[string]string{"04:01:00": "nightly-20260504T040000Z=3", "04:01:01": ""} {
		redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
			f := newFleet(t, rdb)
			f.runUntilIdle(f.worker(nil))
			f.set(late)
			f.runUntilIdle(f.worker(nil))
			f.wantBatches(want)
			missed := f.state().Missed
			if want != "" && missed.Count != 2 || want == "" && missed.Count != 3 {
				t.Errorf("at %s: missed: got %+v", late, missed)
			}
		})
	}
}

func TestRefusedLinesAreLoggedAndCounted(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		f := newFleet(t, rdb)
		f.write("{\"path\":\"/1\"}\n\nnot json\n{\"path\":\"/2\",\"upstream\":\"other\"}\n{\"path\":\"/3\"}\n" + strings.Repeat("{}\n", 30))
		w := f.worker(nil)
		f.runUntilIdle(w)
		f.set("02:00:00")
		f.runUntilIdle(w)
		f.wantBatches("nightly-20260504T020000Z=2")
		f.wantLogged(maxNamed, "level=ERROR msg=\"a line of a schedule's file was refused\"")
		f.wantLogged(1, "line=3 reason=\"is not JSON")
		f.wantLogged(1, `line=4 reason="field \"upstream\": there is no upstream \"other\"`)
		f.wantLogged(1, "level=ERROR msg=\"the file of a schedule was sent without its refused lines\"")
		if sent := f.state().Sent; sent.Accepted != 2 || sent.Refused != 32 || !strings.HasPrefix(sent.Refusal, "line 3 is not JSON") {
			t.Errorf("recorded: got %+v", sent)
		}
	})
}

func TestAFileThatNoWorkerCanReadIsRecorded(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		f := newFleet(t, rdb)
		w, other := f.worker(nil), f.worker(nil)
		f.runUntilIdle(w, other)
		if err := os.Remove(f.schedule.File); err != nil {
			t.Fatal(err)
		}
		f.set("02:00:00")
		for range 3 {
			if wait, err := w.step(t.Context()); wait != lookAgain || err != nil {
				t.Fatalf("got a wait of %s, %v; want to leave the tick to others", wait, err)
			}
		}
		f.set("02:00:10")
		f.runUntilIdle(w, other)
		f.wantBatches("")
		f.wantLogged(1, "level=ERROR msg=\"the file of a schedule could not be sent\"")
		f.wantLogged(1, "level=ERROR msg=\"the file of a schedule could not be sent\" schedule=nightly batch=nightly-20260504T020000Z")
		if sent := f.state().Sent; !strings.Contains(sent.Error, "calls.jsonl cannot be read: no such file or directory") || !sent.Tick.Equal(at("02:00:00")) {
			t.Errorf("recorded: got %+v", sent)
		}
		f.write(calls(2))
		f.set("03:00:00")
		f.runUntilIdle(w, other)
		f.wantBatches("nightly-20260504T030000Z=2")
	})
}

func TestAWorkerThatCannotReadTheFileLeavesTheTickToOthers(t *testing.T) {
	f := newFleet(t, redistest.Redis(t).Client)
	with := f.worker(nil)
	has := f.schedule.File
	f.schedule.File = t.TempDir() // a folder
	without := f.worker(nil)
	f.schedule.File = has
	f.runUntilIdle(with)
	f.set("02:00:00")
	if _, err := without.step(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.runUntilIdle(with, without)
	f.wantBatches("nightly-20260504T020000Z=3")
	f.wantLogged(1, "is not a regular file")
}

func TestAnEmptyFileIsLoggedAsAWarning(t *testing.T) {
	f := newFleet(t, redistest.Redis(t).Client)
	w := f.worker(nil)
	f.runUntilIdle(w)
	f.write("\n")
	f.set("02:00:00")
	f.runUntilIdle(w)
	f.wantBatches("")
	f.wantLogged(1, "level=WARN msg=\"the file of a schedule contains no calls\"")
}

func TestARunningFleetSendsAtItsTicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rdb, _ := redistest.Mini(t)
		f := newFleet(t, rdb)
		f.schedule.Calendar = f.calendar("*/10 * * * *")
		ctx, cancel := context.WithCancel(t.Context())
		cfg := f.config(nil)
		cfg.Now = nil // Redis's clock, which is that of the bubble
		stopped := make(chan struct{})
		for range 3 {
			go func() {
				Run(ctx, cfg)
				stopped <- struct{}{}
			}()
		}
		time.Sleep(time.Hour + time.Second) // from midnight on, of 2000-01-01
		cancel()
		for range 3 {
			<-stopped
		}
		f.wantBatches("nightly-20000101T001000Z=3 nightly-20000101T002000Z=3 nightly-20000101T003000Z=3 " +
			"nightly-20000101T004000Z=3 nightly-20000101T005000Z=3 nightly-20000101T010000Z=3")
		f.wantLogged(0, "missed")
	})
}

func TestARedisThatCannotBeReachedIsLoggedOnceAndRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rdb, _ := redistest.Mini(t)
		f := newFleet(t, rdb)
		wire := &cut{}
		rdb.AddHook(wire)
		cfg := f.config(nil)
		cfg.Now = nil
		cfg.Explain = func(error) error { return errors.New("an explanation") }
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan struct{})
		go func() {
			Run(ctx, cfg)
			close(stopped)
		}()
		time.Sleep(30 * time.Minute)
		wire.set(true)
		time.Sleep(30*time.Minute + 20*time.Second) // over the tick at one
		wire.set(false)
		time.Sleep(20 * time.Second)
		cancel()
		<-stopped
		f.wantLogged(1, "a schedule cannot run; retrying")
		f.wantLogged(1, "reason=\"an explanation\"")
		f.wantLogged(1, "a schedule runs again")
		f.wantBatches("nightly-20000101T010000Z=3")
	})
}
