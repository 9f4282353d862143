package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"
)

// contender is one side of a comparison.
type contender struct {
	name string
	// callq reports that it is a side of callq, and not one that callq is compared with.
	callq bool
	// prepare puts n calls where the side takes them from.
	prepare func(ctx context.Context, s *server, n int) (*work, error)
}

// work is what a measurement measures.
type work struct {
	// run does the work. Its time is measured.
	run func() error
	// end stops what run has started, and returns an error if not all the work was done.
	end func() error
}

// sample is what one measurement found.
type sample struct {
	// rate is in calls a second.
	rate float64
	// program and redis are CPU times in µs for a call: of this process, and of Redis.
	program, redis float64
	// allocs and bytes are what this process allocated for a call.
	allocs, bytes float64
	// waiting and done are Redis's memory for a call before and after the work, in bytes.
	waiting, done float64
	// file is by how many bytes the work made the append-only file longer, for a call.
	file float64
	// p999 is the 99.9th percentile of the time of a script, in µs.
	p999 float64
	// slowest is the slowest script, if it took longer than slowerThan.
	slowest script
	// others is how many CPUs other processes used meanwhile; -1 if the system does not
	// say.
	others float64
}

// meter is what this process and Redis have used since they started.
type meter struct {
	program, machine time.Duration
	redis            float64 // seconds
	allocs, bytes    uint64
	file             float64
	at               time.Time
}

func read(ctx context.Context, s *server) (meter, error) {
	f, err := s.info(ctx, "cpu", "persistence")
	if err != nil {
		return meter{}, err
	}
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	return meter{
		program: cpuTime(), machine: machineTime(), redis: number(f, "used_cpu_user") + number(f, "used_cpu_sys"),
		allocs: mem.Mallocs, bytes: mem.TotalAlloc, file: number(f, "aof_current_size") + number(f, "aof_buffer_length"), at: time.Now(),
	}, nil
}

// sampleOf returns what n calls took between two readings.
func sampleOf(before, after meter, took time.Duration, n int) sample {
	calls := float64(n)
	s := sample{
		rate:    calls / took.Seconds(),
		program: float64((after.program - before.program).Microseconds()) / calls,
		redis:   (after.redis - before.redis) * 1e6 / calls,
		allocs:  float64(after.allocs-before.allocs) / calls,
		bytes:   float64(after.bytes-before.bytes) / calls,
		file:    (after.file - before.file) / calls,
		others:  -1,
	}
	if before.machine > 0 {
		rest := (after.machine - before.machine - after.program + before.program).Seconds() - (after.redis - before.redis)
		s.others = max(rest, 0) / after.at.Sub(before.at).Seconds()
	}
	return s
}

// measure measures one side on an empty Redis.
func measure(ctx context.Context, c contender, set settings, n int) (got sample, err error) {
	s, err := set.start(ctx)
	if err != nil {
		return sample{}, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	w, err := c.prepare(ctx, s, n)
	if err != nil {
		return sample{}, err
	}
	waiting, err := s.memory(ctx)
	if err == nil {
		got, err = meteredRun(ctx, s, w, n)
	}
	if err = errors.Join(err, w.end()); err != nil {
		return sample{}, err
	}
	done, err := s.memory(ctx)
	got.waiting, got.done = max(waiting-s.base, 0)/float64(n), max(done-s.base, 0)/float64(n)
	return got, err
}

func meteredRun(ctx context.Context, s *server, w *work, n int) (sample, error) {
	runtime.GC() // what was allocated before is not collected in the measured time
	before, err := read(ctx, s)
	if err != nil {
		return sample{}, err
	}
	began := time.Now()
	if err := w.run(); err != nil {
		return sample{}, err
	}
	took := time.Since(began)
	after, err := read(ctx, s)
	if err != nil {
		return sample{}, err
	}
	got := sampleOf(before, after, took, n)
	f, err := s.info(ctx, "latencystats", "persistence")
	if err != nil {
		return sample{}, err
	}
	if number(f, "aof_rewrites") > 0 {
		return sample{}, errors.New("Redis rewrote its file while it was measured")
	}
	got.p999 = percentile999(f)
	got.slowest, err = s.slowest(ctx)
	return got, err
}

// comparison is some sides that do the same work.
type comparison struct {
	title string
	sides []contender
	// factor multiplies the number of calls.
	factor int
	// summary has the ratios that the README shows.
	summary []ratio
}

// ratio is a rate of callq as a multiple of that of a peer. label is its name.
type ratio struct{ callq, peer, label string }

// outcome has the samples of a comparison.
type outcome struct {
	comparison
	set   settings
	calls int
	// samples are those of each side, by its name, in the order of the rounds.
	samples map[string][]sample
}

// order returns the order in which n sides take their turns in a round: each round begins
// with another side, and every second one goes backwards.
func order(n, round int) []int {
	turns := make([]int, n)
	for i := range turns {
		step := i
		if round%2 == 1 {
			step = n - i
		}
		turns[i] = (round + step) % n
	}
	return turns
}

// add adds a comparison to be measured.
func (r *results) add(c comparison, set settings) {
	r.outcomes = append(r.outcomes, &outcome{comparison: c, set: set, calls: r.options.calls * c.factor, samples: map[string][]sample{}})
}

// measure makes the rounds. A round has every side of every comparison, so that all of them
// have the same rounds when the time is over.
func (r *results) measure(ctx context.Context, progress io.Writer) error {
	for r.rounds < r.options.rounds {
		began := time.Now()
		for _, o := range r.outcomes {
			if err := o.round(ctx, r.rounds, progress); err != nil {
				return err
			}
		}
		r.rounds++
		fmt.Fprintf(progress, "round %d of %d took %s\n", r.rounds, r.options.rounds, time.Since(began).Round(time.Second))
		if time.Since(r.began)+time.Since(began) > r.options.within {
			break
		}
	}
	return nil
}

// round measures each side once.
func (o *outcome) round(ctx context.Context, round int, progress io.Writer) error {
	for _, i := range order(len(o.sides), round) {
		side := o.sides[i]
		got, err := measure(ctx, side, o.set, o.calls)
		if err != nil {
			return fmt.Errorf("%s, %s: %w", o.title, side.name, err)
		}
		o.samples[side.name] = append(o.samples[side.name], got)
		fmt.Fprintf(progress, "%s, %s Redis: %s: %s/s\n", o.title, o.set, side.name, grouped(got.rate))
	}
	return nil
}
