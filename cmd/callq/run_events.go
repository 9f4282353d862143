package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/filerun"
)

// fileRun is a run of a file. It prints what happens and how the run ended.
type fileRun struct {
	*app
	cfg    *config.Config
	config filerun.Config
	in     *filerun.Input
	// out is the output file, "-" for standard output.
	out string
	// again is the command line that continues the run, empty if the same command starts
	// from the beginning.
	again    string
	progress *console.Progress
	log      *slog.Logger
	// backend is the connection, nil before it is opened. The code that makes a fileRun
	// closes it.
	backend *backend
	started atomic.Pointer[filerun.Started]
	// waiting is why no call is made, empty while calls are made.
	waiting string
	slow    slowCalls
	written atomic.Int64
}

// newFileRun returns the run of an input. The caller must set config.Worker.Upstreams.
func (a *app) newFileRun(cfg *config.Config, in *filerun.Input, out string) *fileRun {
	r := &fileRun{app: a, cfg: cfg, in: in, out: out, progress: a.newProgress()}
	r.log = a.runLogger()
	r.config = filerun.Config{
		In: in, Out: out, Patience: defaultPatience, DropBodies: cfg.Ledger.DropBodies, CommandFlags: a.where(),
		Connect: r.connect, OnEvent: r.show,
		Worker: workerConfig(cfg, a.secrets, r.log),
	}
	r.config.Worker.OnAttempt, r.config.Worker.TracerProvider = r.slow.note, a.tracerProvider(r.log)
	if out == "-" {
		r.config.Out, r.config.Writer = "", beneath(a.stdout)
	}
	return r
}

// connect opens Redis, unless it is open.
func (r *fileRun) connect(ctx context.Context) (filerun.Backend, error) {
	if r.backend == nil {
		d, err := r.app.connect(ctx, r.cfg, "run", false, r.log)
		if statusOf(err) == exitUsage {
			err = &filerun.InputError{Problem: filerun.ProblemConfig, Err: err}
		}
		if err != nil {
			return filerun.Backend{}, err
		}
		r.backend = d
	}
	return filerun.Backend{Redis: r.backend.conn.Client, Volatile: r.backend.conn.Volatile}, nil
}

// run makes the calls, prints the summary, and reports whether all calls have ended.
func (r *fileRun) run(ctx context.Context) (finished bool, err error) {
	r.drainsOnSignal(r.progress)
	r.signals.onCut(r.cutShort)
	sum, err := filerun.Run(ctx, r.config)
	r.signals.onCut(nil)
	r.progress.Close()
	if sum.Batch == "" {
		return false, r.withAdvice(err, sum)
	}
	return err == nil, r.conclude(sum, err)
}

// drainsOnSignal makes the first Ctrl-C drain the run, and print that.
func (a *app) drainsOnSignal(p *console.Progress) {
	a.signals.drain(func() {
		p.Printf("callq: stopping: waiting for the inflight calls to end; Ctrl-C again stops at once")
	})
}

// cutShort prints the last line of a run that ends at once. It counts only the results in
// the output.
func (r *fileRun) cutShort() {
	started := r.started.Load()
	if started == nil {
		return
	}
	r.progress.Close()
	r.report(fmt.Errorf("stopped at once: %s of %s their results; %s",
		console.Grouped(r.written.Load()), console.Subject(started.Calls, "call", "has", "have"), r.howToContinue(started.Continue)))
}

// howToContinue says how to continue after a run that did not finish.
func (r *fileRun) howToContinue(c filerun.Continue) string {
	switch {
	case r.again == "":
		return "the same command starts from the beginning"
	case c == filerun.ContinueFromResults:
		return "run the same command again to continue"
	case c == filerun.ContinueNot:
		return "run the same command again; it starts from the beginning (with -o FILE it could continue)"
	default:
		return "run the same command again: it first writes the results that the queue has"
	}
}

// show prints an event.
func (r *fileRun) show(event filerun.Event) {
	switch e := event.(type) {
	case filerun.Started:
		r.start(e)
	case filerun.Progress:
		r.written.Store(int64(e.Written))
		r.progress.Update(func() console.Status {
			return console.Status{
				Ended: e.Ended, NotMade: e.NotMade, Failed: failedText(e.Dead, e.Dropped, e.Cancelled), Waiting: r.waiting,
				Details: r.slow.lines,
			}
		})
	case filerun.Waiting:
		r.waiting = e.Brief
	case filerun.Planned:
		r.showRefusals(r.in.Name(), e.Refusals, e.Refused)
		r.showEmpty(r.in.Name(), e.Calls+e.Refused)
	default:
		if line := r.line(event); line != "" {
			r.progress.Printf("%s", line)
		}
	}
}

// start prints warnings, and begins to show the progress.
func (r *fileRun) start(e filerun.Started) {
	openFiles{}.warn(r.cfg, r.log)
	r.backend.warnOfLoss(context.Background(), r.log, noted)
	if r.backend.conn.Volatile {
		r.progress.Printf("%s", r.backend.conn.Notice)
	}
	r.progress.Begin(e.Calls, e.Ended)
	r.written.Store(int64(e.Ended))
	r.started.Store(&e)
}

// line returns the line for an event, or "".
func (r *fileRun) line(event filerun.Event) string {
	switch e := event.(type) {
	case filerun.RedriveUnknown:
		err := e.Err
		if r.backend != nil {
			err = r.backend.explain(err)
		}
		return fmt.Sprintf("%s: cannot find out whether failed calls were redriven: %v", r.in.Name(), err)
	case filerun.Redriven:
		return fmt.Sprintf("%s failed in %s and been redriven since; the results in the queue replace those", console.Subject(e.Calls, "call", "has", "have"), r.out)
	case filerun.APIUnrecorded:
		return unrecorded(r.in.Name(), e.Upstream, e.BaseURL)
	case filerun.ResultsRestored:
		return fmt.Sprintf("%s of the earlier run only in the queue; %s written to %s", console.Subject(e.Results, "result", "was", "were"), itIs(e.Results), r.out)
	case filerun.ResultsReplaced:
		return fmt.Sprintf("%s replaced and moved to %s", console.Subject(e.Results, "earlier result", "is", "are"), e.File)
	case filerun.DoubtfulRepeated:
		return console.Subject(e.Calls, "call", "is", "are") + " made again although the API may have carried out the earlier send (outcome_unknown)"
	case filerun.ProbeRequested:
		return fmt.Sprintf("%s was paused last time (%s); testing with one call", e.Circuit, e.Why)
	case filerun.UnderWayElsewhere:
		return console.Subject(e.Calls, "call", "is", "are") + " being made by other processes; if one of them was killed, its calls are made again within a minute"
	case filerun.KnownResults:
		return r.knownLine(e)
	case filerun.CircuitChanged:
		return changeLine(e, time.Now())
	case filerun.CallsWait:
		return e.Text
	case filerun.Stalled:
		return stalledLine(e, time.Now())
	}
	return ""
}

// itIs returns "it is" for one thing and "they are" for several.
func itIs(n int) string {
	if n == 1 {
		return "it is"
	}
	return "they are"
}

// knownLine says that results come from the queue. Otherwise it would look as if calls had
// been made.
func (r *fileRun) knownLine(e filerun.KnownResults) string {
	fresh := ""
	switch {
	case e.Resumed: // an earlier run was killed before it wrote them
	case r.in.Spooled():
		fresh = "; the same calls under other keys are new calls"
	default:
		fresh = "; to make new calls, copy " + r.in.Name() + " to another name and run the copy"
	}
	line := knownText(e.Results, "is") + fresh
	if e.Bodiless > 0 {
		line += fmt.Sprintf("\n%s of the results have no body (body_freed): it was freed from Redis after it was written to an earlier results file or export; "+
			"if that file is lost, --redo-keys makes such a call again", console.Grouped(int64(e.Bodiless)))
	}
	return line
}

// failedText says in a few words how many calls failed. It is empty if none did.
func failedText(dead, dropped, cancelled int) string {
	var parts []string
	for _, one := range []struct {
		n     int
		state tasks.State
	}{{dead, tasks.StateDead}, {dropped, tasks.StateDropped}, {cancelled, tasks.StateCancelled}} {
		if one.n > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", console.Grouped(int64(one.n)), one.state))
		}
	}
	return strings.Join(parts, ", ")
}
