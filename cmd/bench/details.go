package main

import (
	"fmt"
	"runtime"
	"strings"
	"time"
)

// details returns the page with all tables.
func (r *results) details() string {
	var b strings.Builder
	b.WriteString("# callq and asynq, measured\n\n" + howMeasured)
	load := ""
	if r.load != "" {
		load = " The load of the machine was " + r.load + " before."
	}
	if used, ok := r.others(); ok {
		load += fmt.Sprintf(" Other processes used %.2f of %d CPUs meanwhile (median; %.2f to %.2f).", used.median, runtime.NumCPU(), used.min, used.max)
	}
	fmt.Fprintf(&b, "\nMeasured in %s on %s with %s, %s, asynq %s, go-redis %s; %s calls a measurement (bulk send: five times as many), %d rounds.%s\n",
		r.took.Round(time.Second), processor(), r.redis, runtime.Version(), version("github.com/hibiken/asynq"), version("github.com/redis/go-redis/v9"),
		grouped(float64(r.options.calls)), r.rounds, load)
	for _, o := range r.outcomes {
		o.table(&b)
	}
	r.scriptTable(&b)
	return b.String()
}

// howMeasured says what the tables mean.
const howMeasured = "`make bench` prints this page, and `make bench-record` writes it here and its first ratios into the README.\n" + `
- Every measurement has a new, empty Redis on a unix socket, with appendonly yes and appendfsync everysec, which ends with it. Automatic
  rewrites of the append-only file are off on both sides: a rewrite would slow down only the side that writes more. The column "file" says
  how much each side writes.
- "Embedded" are the settings of the Redis that callq starts. "Redis's own" differs in hash-max-listpack-value (64, not 2048) and
  zset-max-listpack-entries (128, not 16).
- The sides take turns in one process, in an order that changes from round to round. A cell has the median of the rounds, and the least and
  the greatest in brackets. A ratio is that of the two measurements of one round.
- No-op jobs: 100 bytes of arguments, 64 places, all jobs in the queue before the time begins. callq records each job with its result;
  asynq deletes a task that has succeeded, unless it keeps results (Retention and ResultWriter). Four servers have 16 places each. The time
  ends when the last job is recorded.
- Limits: 1,000,000/s and 1,000,000,000/day, which never stop a call. MarkSent: each job records that its effect follows, and waits until
  Redis has written the mark to its file.
- Bulk send: SubmitAll checks, claims and records each call. asynq has no bulk send.
- HTTP: a file of GETs becomes a file of answers of 77 bytes. The API is a process of its own on the same CPUs. The asynq program has an
  http.Client with callq's settings; it enqueues, calls and writes at the same time, retries nothing, and cannot be continued.
- CPU time is that of this process (getrusage) and that of Redis (INFO cpu). Allocations are those of this process.
- Memory is Redis's, without the buffers of clients and of the file.
- River, which uses PostgreSQL, is not compared.
`

// httpTitle is the title of the comparison over HTTP.
const httpTitle = "HTTP"

// table writes the tables of an outcome.
func (o *outcome) table(b *strings.Builder) {
	redis := "embedded settings"
	if o.set == plain {
		redis = "Redis's own settings"
	}
	fmt.Fprintf(b, "\n## %s, %s\n\n", strings.ToUpper(o.title[:1])+o.title[1:], redis)
	b.WriteString("| side | calls/s | µs CPU a call: program + Redis | allocations a call | bytes allocated | file, bytes a call | memory, bytes a call: waiting, done |\n")
	b.WriteString("|---|---|---|---|---|---|---|\n")
	for _, side := range o.sides {
		samples := o.samples[side.name]
		median := func(value func(sample) float64) string { return grouped(of(samples, value).median) }
		fmt.Fprintf(b, "| %s | %s | %s + %s | %s | %s | %s | %s |\n", side.name,
			of(samples, func(s sample) float64 { return s.rate }).rateText(),
			median(func(s sample) float64 { return s.program }), median(func(s sample) float64 { return s.redis }),
			median(func(s sample) float64 { return s.allocs }), median(func(s sample) float64 { return s.bytes }),
			median(func(s sample) float64 { return s.file }), o.memory(samples))
	}
	o.ratioTable(b)
}

// ratioTable writes the ratios: a column for each side of callq, a row for each peer.
func (o *outcome) ratioTable(b *strings.Builder) {
	var columns, rows []string
	for _, side := range o.sides {
		if side.callq {
			columns = append(columns, side.name)
		} else {
			rows = append(rows, side.name)
		}
	}
	fmt.Fprintf(b, "\n| rate / that of | %s |\n|---%s|\n", strings.Join(columns, " | "), strings.Repeat("|---", len(columns)))
	for _, peer := range rows {
		fmt.Fprintf(b, "| %s |", peer)
		for _, callq := range columns {
			fmt.Fprintf(b, " %s |", o.ratiosOf(callq, peer).ratioText())
		}
		b.WriteString("\n")
	}
}

// memory returns Redis's memory for a waiting and a done call, as far as the comparison
// has them.
func (o *outcome) memory(samples []sample) string {
	waiting := grouped(of(samples, func(s sample) float64 { return s.waiting }).median)
	done := grouped(of(samples, func(s sample) float64 { return s.done }).median)
	switch o.title {
	case sendComparison.title:
		return done + ", –" // after the work the calls wait
	case httpTitle:
		return "–, " + done
	default:
		return waiting + ", " + done
	}
}

// scriptTable writes how long scripts take.
func (r *results) scriptTable(b *strings.Builder) {
	fmt.Fprintf(b, `
## Scripts

In the measured rounds: the 99.9th percentile is over all scripts, from INFO latencystats, which Redis keeps anyway. The slowest script is
from SLOWLOG with a threshold of %s.

| side | Redis | 99.9 %%: µs, median (least to greatest) | slowest |
|---|---|---|---|
`, slowerThan)
	for _, o := range r.outcomes {
		for _, side := range o.sides {
			if side.callq {
				fmt.Fprintf(b, "| %s | %s | %s |\n", side.name, o.set, scriptCells(o.samples[side.name], &r.names))
			}
		}
	}
	fmt.Fprintf(b, `
Each script, in a run of its own with embedded settings, which does not count for the rates: from SLOWLOG, without the executions that took
less than %s. One Dequeue or End of callq is for several calls.

| side | script | times a call | mean | 99.9 %% | slowest |
|---|---|---|---|---|---|
`, scriptSlowerThan)
	for _, s := range r.scripts {
		if s.times >= 0.001 {
			fmt.Fprintf(b, "| %s | %s | %.3f | %s | %s | %s |\n", s.side, s.name, s.times, s.mean.Round(time.Microsecond), s.p999, s.max)
		}
	}
}

// scriptCells returns how long the scripts of a side took in the measured rounds.
func scriptCells(samples []sample, names *scriptNames) string {
	var slowest script
	for _, s := range samples {
		if s.slowest.took > slowest.took {
			slowest = s.slowest
		}
	}
	text := "under " + slowerThan.String()
	if slowest.sha != "" {
		text = fmt.Sprintf("%s (%s)", slowest.took.Round(10*time.Microsecond), names.of(slowest.sha))
	}
	return of(samples, func(s sample) float64 { return s.p999 }).rateText() + " | " + text
}
