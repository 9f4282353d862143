package schedule

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// workerWith returns a worker that has the schedule with another cron expression.
func (f *fleet) workerWith(cron string) *runner {
	f.t.Helper()
	w := f.worker(nil)
	w.schedule.Calendar = f.calendar(cron)
	return w
}

func TestAScheduleWithAnotherCalendarStartsAgain(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		f := newFleet(t, rdb)
		f.runUntilIdle(f.workerWith("0 * * * *"))
		f.set("05:10:00")
		f.runUntilIdle(f.workerWith("*/15 * * * *"))
		f.wantLogged(0, "missed")
		f.wantBatches("")
		f.set("05:15:00")
		f.runUntilIdle(f.workerWith("*/15 * * * *"))
		f.wantBatches("nightly-20260504T051500Z=3")
	})
}

func TestDuringARollOutBothCalendarsRunAndNoTickIsSentTwice(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		f := newFleet(t, rdb)
		before, after := f.workerWith("0 * * * *"), f.workerWith("*/30 * * * *")
		f.set("01:50:00")
		f.runUntilIdle(before, after)
		for _, clock := range []string{"02:00:00", "02:01:30", "02:30:00"} { // no worker could look in between
			f.set(clock)
			f.runUntilIdle(before, after)
		}
		f.wantBatches("nightly-20260504T020000Z=3 nightly-20260504T023000Z=3")
		f.wantLogged(2, "the file of a schedule was sent")
		f.wantLogged(0, "missed")
	})
}

func TestATickThatAnotherCalendarSentLateIsNotMissed(t *testing.T) {
	f := newFleet(t, redistest.Redis(t).Client)
	before, after := f.workerWith("0 * * * *"), f.workerWith("*/30 * * * *")
	f.runUntilIdle(before, after)
	f.set("02:00:00")
	f.runUntilIdle(before)
	f.set("02:05:00") // the sending took this long
	f.runUntilIdle(after)
	f.wantLogged(0, "missed")
	f.wantBatches("nightly-20260504T020000Z=3")
}

func TestATickThatAnotherCalendarSentIsNotMissedLater(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		f := newFleet(t, rdb)
		before, after := f.workerWith("*/10 * * * *"), f.workerWith("*/5 * * * *")
		f.set("01:59:00")
		f.runUntilIdle(before, after)
		f.set("02:00:00")
		f.runUntilIdle(after) // sends it
		f.runUntilIdle(before)
		f.set("02:05:00")
		f.runUntilIdle(after)
		f.runUntilIdle(before)
		f.wantLogged(0, "missed")
		f.wantBatches("nightly-20260504T020000Z=3 nightly-20260504T020500Z=3")
	})
}

func TestTheStateOfAnOldCalendarIsDeleted(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		f := newFleet(t, rdb)
		f.runUntilIdle(f.workerWith("0 * * * *"))
		for _, clock := range []string{"01:35:00", "01:41:00", "01:42:00"} {
			f.set(clock)
			f.runUntilIdle(f.workerWith("30 23 * * *"))
		}
		f.set("06:30:00")
		f.runUntilIdle(f.workerWith("0 * * * *")) // back again
		f.wantLogged(0, "missed")
		f.wantLogged(3, "a schedule starts")
	})
}

func TestABatchBegunUnderTheOldCalendarIsCompleted(t *testing.T) {
	f := newFleet(t, redistest.Redis(t).Client)
	f.runUntilIdle(f.workerWith("0 * * * *"))
	if err := f.rdb.HSet(t.Context(), stateKey("nightly"), fieldSending, timeText(at("01:00:00"))).Err(); err != nil {
		t.Fatal(err)
	}
	f.runUntilIdle(f.workerWith("30 23 * * *"))
	f.wantBatches("nightly-20260504T010000Z=3")
}

func TestTheCommandThatSendsABatchByHandIsQuoted(t *testing.T) {
	s := Schedule{Name: "a", File: "/srv/it's here.jsonl"}
	if got, want := s.ByHand(at("02:00:00")), `callq send '/srv/it'\''s here.jsonl' --batch a-20260504T020000Z`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
