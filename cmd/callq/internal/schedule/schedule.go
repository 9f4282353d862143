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

// Config is the configuration of [Run]. Redis, Producer and Schedules are required.
type Config struct {
	// Redis has the state of the schedules.
	Redis redis.UniversalClient
	// Producer puts the calls into the queue.
	Producer *tasks.Producer
	// Rules are the rules for the lines of the files.
	Rules tasks.Rules
	// Schedules run concurrently: none waits for another.
	Schedules []Schedule
	// Who is the name of this process in the state.
	Who string
	// Logger logs what is sent, missed and refused. By default nothing is logged.
	Logger *slog.Logger
	// Explain turns Redis's errors into explanations. By default they stay unchanged.
	Explain func(error) error
	// Now is the clock of the fleet. Defaults to Redis's.
	Now func(context.Context) (time.Time, error)
}

const (
	// maxIdle is the longest time between two looks at a schedule. A look shows that
	// a worker has the schedule, and Redis's clock may be changed.
	maxIdle = time.Minute
	// lookAgain is when to look again if another worker has the lock.
	lookAgain = time.Second
	// leaveToOthers is how long a worker that cannot read the file leaves a tick to
	// other workers, which may be able to.
	leaveToOthers = 10 * time.Second
	// maxRetryWait is the longest wait between two attempts to reach Redis.
	maxRetryWait = 15 * time.Second
)

// Run sends what is due until ctx ends. A batch that it is sending then is completed by
// another worker, or by the next one. If Redis cannot be reached, Run logs it and
// continues when Redis can be reached again.
func Run(ctx context.Context, cfg Config) {
	var wg sync.WaitGroup
	for _, s := range cfg.Schedules {
		r := newRunner(cfg, s)
		wg.Go(func() { r.run(ctx) })
	}
	wg.Wait()
}

// runner runs one schedule in one worker.
type runner struct {
	Config
	schedule Schedule
	lease    time.Duration

	// unreadTick is the tick whose file this worker could not read, unreadSince when it
	// first tried.
	unreadTick, unreadSince time.Time
}

func newRunner(cfg Config, s Schedule) *runner {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Explain == nil {
		cfg.Explain = func(err error) error { return err }
	}
	if cfg.Now == nil {
		cfg.Now = func(ctx context.Context) (time.Time, error) { return cfg.Redis.Time(ctx).Result() }
	}
	return &runner{Config: cfg, schedule: s, lease: lease}
}

func (r *runner) run(ctx context.Context) {
	if err := CheckFile(r.schedule.File); err != nil {
		r.Logger.Warn("the file of a schedule cannot be read yet", "schedule", r.schedule.Name, "reason", err)
	}
	var retryWait time.Duration
	for {
		wait, err := r.step(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if retryWait == 0 {
				r.Logger.Error("a schedule cannot run; retrying", "schedule", r.schedule.Name, "reason", r.Explain(err))
			}
			retryWait = min(retryWait*2+lookAgain, maxRetryWait)
			wait = retryWait
		case retryWait > 0:
			retryWait = 0
			r.Logger.Info("a schedule runs again", "schedule", r.schedule.Name)
		}
		if pause.For(ctx, wait) != nil {
			return
		}
	}
}

// step does what is due now, and returns how long to wait before the next step.
func (r *runner) step(ctx context.Context) (time.Duration, error) {
	now, err := r.Now(ctx)
	if err != nil {
		return 0, err
	}
	st, err := r.look(ctx, now)
	if err != nil {
		return 0, err
	}
	if r.idle(st, now) {
		return r.idleTime(st, now), nil
	}
	l, err := r.lock(ctx)
	if err != nil {
		return 0, err
	}
	if l == nil {
		return lookAgain, nil
	}
	defer l.release(ctx)
	// The worker that had the lock before may have done everything.
	if st, err = Read(ctx, r.Redis, r.schedule); err != nil {
		return 0, err
	}
	again, err := r.act(ctx, l, st, now)
	if again || errors.Is(err, errLost) {
		return lookAgain, nil
	}
	return 0, err // time has passed, and more may be due
}

func (r *runner) idle(st State, now time.Time) bool {
	missed, tick := st.due(r.schedule.Calendar, now)
	return !st.Until.IsZero() && st.Sending.IsZero() && missed == nil && tick.IsZero() && !st.sentByOtherCalendar(r.schedule.Calendar)
}

// idleTime returns how long nothing is due.
func (r *runner) idleTime(st State, now time.Time) time.Duration {
	// After a failover, Redis's clock may be behind Until.
	from := now
	if st.Until.After(now) {
		from = st.Until
	}
	next := r.schedule.Calendar.Next(from)
	if next.IsZero() {
		return maxIdle
	}
	return min(next.Sub(now), maxIdle)
}

// act does what is due. The lock must be held. again reports that something is left,
// which this worker leaves to others for now.
func (r *runner) act(ctx context.Context, l *lock, st State, now time.Time) (again bool, err error) {
	s := r.schedule
	until := fieldUntil(s.Calendar)
	if st.Until.IsZero() {
		if err := l.write(ctx, until, timeText(now)); err != nil {
			return false, err
		}
		st.Until = now
		r.Logger.Info("a schedule starts", "schedule", s.Name, "first", s.Calendar.Next(now))
	}
	if st.sentByOtherCalendar(s.Calendar) {
		// Only the last batch is recorded, so this must be written before the next one.
		if err := l.write(ctx, until, timeText(st.Sent.Tick)); err != nil {
			return false, err
		}
		st.Until = st.Sent.Tick
	}
	missed, tick := st.due(s.Calendar, now)
	if missed != nil {
		// The state is written first: a tick that is reported twice might be sent by
		// hand twice.
		if err := l.write(ctx, until, timeText(missed.Last), fieldMissed, jsonText(missed)); err != nil {
			return false, err
		}
		r.Logger.Warn("a schedule missed ticks: no worker ran to send them in time", "schedule", s.Name, "missed", missed.Count,
			"first", missed.First, "last", missed.Last, "by_hand", s.ByHand(missed.Last))
	}
	if !st.Sending.IsZero() {
		tick = st.Sending
	}
	if tick.IsZero() {
		return false, nil
	}
	return r.deliver(ctx, l, st, tick, now)
}

// deliver sends the batch of a tick and records how that ended.
func (r *runner) deliver(ctx context.Context, l *lock, st State, tick, now time.Time) (again bool, err error) {
	s := r.schedule
	f, unread := open(s.File)
	if unread == nil {
		defer f.Close()
	} else if r.leaveTick(tick, now, unread) {
		return true, nil
	}
	start := []string{fieldSending, timeText(tick)}
	if st.Sending.IsZero() {
		start = append(start, fieldUntil(s.Calendar), timeText(tick))
	} else {
		r.Logger.Warn("completing a batch that another worker began", "schedule", s.Name, "batch", s.Batch(tick))
	}
	if err := l.write(ctx, start...); err != nil {
		return false, err
	}
	sent := &Sent{Tick: tick.UTC(), Batch: s.Batch(tick), Who: r.Who}
	if unread != nil {
		sent.Error = unread.Error()
	} else if sent, err = r.send(ctx, l, tick, f); err != nil {
		return false, err
	}
	if sent.At, err = r.Now(ctx); err != nil {
		return false, err
	}
	sent.At = sent.At.UTC()
	if err := l.write(ctx, fieldSending, "", fieldSent, jsonText(sent)); err != nil {
		return false, err
	}
	r.logSent(sent)
	return false, nil
}

// leaveTick reports whether a tick whose file this worker cannot read is still left to
// other workers.
func (r *runner) leaveTick(tick, now time.Time, unread error) bool {
	if !r.unreadTick.Equal(tick) {
		r.unreadTick, r.unreadSince = tick, now
		r.Logger.Warn("the file of a schedule cannot be read here; leaving its tick to other workers", "schedule", r.schedule.Name,
			"batch", r.schedule.Batch(tick), "reason", unread)
	}
	return now.Sub(r.unreadSince) < leaveToOthers
}
