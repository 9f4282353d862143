package schedule

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/internal/pause"
	"github.com/seed-2903acc3/callq/tasks"
)

// Config is what [Run] works with. Redis, Producer and the Schedules are needed.
type Config struct {
	// Redis is where the fleet remembers its schedules.
	Redis redis.UniversalClient
	// Producer puts the calls into the queue.
	Producer *tasks.Producer
	// Rules are what the lines of the files are checked against.
	Rules tasks.Rules
	// Schedules are looked after each by itself, so that none waits for another.
	Schedules []Schedule
	// Who names this process in what is remembered.
	Who string
	// Logger gets what is sent, missed and refused. Defaults to discarding it.
	Logger *slog.Logger
	// Explain puts Redis's errors into words. Defaults to leaving them as they are.
	Explain func(error) error
	// Now is the clock of the fleet. Defaults to Redis's.
	Now func(context.Context) (time.Time, error)
}

const (
	// maxNap is how long a schedule goes unlooked at: that its worker runs has to
	// show, and Redis's clock may be set.
	maxNap = time.Minute
	// askAgain is when to look again after another worker, which has the lock.
	askAgain = time.Second
	// leaveToOthers is how long a worker that has not got the file leaves a tick to
	// the others, which may have.
	leaveToOthers = 10 * time.Second
	// maxTrouble is the longest that a Redis out of reach is left alone.
	maxTrouble = 15 * time.Second
)

// Run sends what is due until ctx ends; what it is sending then, another worker
// completes, or the next. Where Redis is out of reach it logs that, and goes on
// when it is back.
func Run(ctx context.Context, cfg Config) {
	var wg sync.WaitGroup
	for _, s := range cfg.Schedules {
		k := newKeeper(cfg, s)
		wg.Go(func() { k.run(ctx) })
	}
	wg.Wait()
}

// keeper looks after one schedule for one worker.
type keeper struct {
	Config
	schedule Schedule
	lease    time.Duration

	// since is when this worker first could not read the file of the tick.
	tick, since time.Time
}

func newKeeper(cfg Config, s Schedule) *keeper {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Explain == nil {
		cfg.Explain = func(err error) error { return err }
	}
	if cfg.Now == nil {
		cfg.Now = func(ctx context.Context) (time.Time, error) { return cfg.Redis.Time(ctx).Result() }
	}
	return &keeper{Config: cfg, schedule: s, lease: lease}
}

func (k *keeper) run(ctx context.Context) {
	if err := CheckFile(k.schedule.File); err != nil {
		k.Logger.Warn("the file of a schedule is not there yet", "schedule", k.schedule.Name, "reason", err)
	}
	var trouble time.Duration
	for {
		wait, err := k.step(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if trouble == 0 {
				k.Logger.Error("a schedule cannot be looked after; trying on", "schedule", k.schedule.Name, "reason", k.Explain(err))
			}
			trouble = min(trouble*2+askAgain, maxTrouble)
			wait = trouble
		case trouble > 0:
			trouble = 0
			k.Logger.Info("a schedule is looked after again", "schedule", k.schedule.Name)
		}
		if pause.For(ctx, wait) != nil {
			return
		}
	}
}

// step does what is to be done now, and says when to look again.
func (k *keeper) step(ctx context.Context) (time.Duration, error) {
	now, err := k.Now(ctx)
	if err != nil {
		return 0, err
	}
	st, err := k.look(ctx, now)
	if err != nil {
		return 0, err
	}
	if k.idle(st, now) {
		return k.nap(st, now), nil
	}
	l, err := k.lock(ctx)
	if err != nil {
		return 0, err
	}
	if l == nil {
		return askAgain, nil
	}
	defer l.free(ctx)
	// Who had the lock until now may have done it all.
	if st, err = Read(ctx, k.Redis, k.schedule); err != nil {
		return 0, err
	}
	again, err := k.act(ctx, l, st, now)
	if again || errors.Is(err, errLost) {
		return askAgain, nil
	}
	return 0, err // time has passed: look what is due by now
}

func (k *keeper) idle(st State, now time.Time) bool {
	missed, tick := st.due(k.schedule.Calendar, now)
	return !st.Until.IsZero() && st.Sending.IsZero() && missed == nil && tick.IsZero() && !st.shared(k.schedule.Calendar)
}

// nap is how long nothing will be due.
func (k *keeper) nap(st State, now time.Time) time.Duration {
	// A Redis that took over from another may be behind what that one had sent.
	from := now
	if st.Until.After(now) {
		from = st.Until
	}
	next := k.schedule.Calendar.Next(from)
	if next.IsZero() {
		return maxNap
	}
	return min(next.Sub(now), maxNap)
}

// act does, under the lock, what the state asks for. again tells that there is
// something left, which this worker leaves to others for the moment.
func (k *keeper) act(ctx context.Context, l *lock, st State, now time.Time) (again bool, err error) {
	s := k.schedule
	until := fieldUntil(s.Calendar)
	if st.Until.IsZero() {
		if err := l.write(ctx, until, timeText(now)); err != nil {
			return false, err
		}
		st.Until = now
		k.Logger.Info("a schedule begins", "schedule", s.Name, "first", s.Calendar.Next(now))
	}
	if st.shared(s.Calendar) {
		// While it is still the last one: that it was sent is forgotten with the next.
		if err := l.write(ctx, until, timeText(st.Sent.Tick)); err != nil {
			return false, err
		}
		st.Until = st.Sent.Tick
	}
	missed, tick := st.due(s.Calendar, now)
	if missed != nil {
		// Written first: what is reported twice would be sent by hand twice.
		if err := l.write(ctx, until, timeText(missed.Last), fieldMissed, jsonText(missed)); err != nil {
			return false, err
		}
		k.Logger.Warn("a schedule missed ticks: no worker was there to send them in time", "schedule", s.Name, "missed", missed.Count,
			"first", missed.First, "last", missed.Last, "by_hand", s.ByHand(missed.Last))
	}
	if !st.Sending.IsZero() {
		tick = st.Sending
	}
	if tick.IsZero() {
		return false, nil
	}
	return k.deliver(ctx, l, st, tick, now)
}

// deliver sends the batch of a tick and records how that ended.
func (k *keeper) deliver(ctx context.Context, l *lock, st State, tick, now time.Time) (again bool, err error) {
	s := k.schedule
	f, unread := open(s.File)
	if unread == nil {
		defer f.Close()
	} else if k.leave(tick, now, unread) {
		return true, nil
	}
	begun := []string{fieldSending, timeText(tick)}
	if st.Sending.IsZero() {
		begun = append(begun, fieldUntil(s.Calendar), timeText(tick))
	} else {
		k.Logger.Warn("completing a batch that another worker left", "schedule", s.Name, "batch", s.Batch(tick))
	}
	if err := l.write(ctx, begun...); err != nil {
		return false, err
	}
	sent := &Sent{Tick: tick.UTC(), Batch: s.Batch(tick), Who: k.Who}
	if unread != nil {
		sent.Error = unread.Error()
	} else if sent, err = k.send(ctx, l, tick, f); err != nil {
		return false, err
	}
	if sent.At, err = k.Now(ctx); err != nil {
		return false, err
	}
	sent.At = sent.At.UTC()
	if err := l.write(ctx, fieldSending, "", fieldSent, jsonText(sent)); err != nil {
		return false, err
	}
	k.tell(sent)
	return false, nil
}

// leave tells whether a tick whose file this worker cannot read is still left to
// other workers.
func (k *keeper) leave(tick, now time.Time, unread error) bool {
	if !k.tick.Equal(tick) {
		k.tick, k.since = tick, now
		k.Logger.Warn("the file of a schedule cannot be read here; leaving its tick to other workers", "schedule", k.schedule.Name,
			"batch", k.schedule.Batch(tick), "reason", unread)
	}
	return now.Sub(k.since) < leaveToOthers
}
