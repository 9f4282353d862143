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

// fileRun is a run of a file with what tells of it: it prints what happens, and how the
// run ended.
type fileRun struct {
	*app
	cfg    *config.Config
	config filerun.Config
	in     *filerun.Input
	// out is where the results go, "-" for standard output.
	out string
	// again is the command line that goes on with the file; empty where the same
	// command begins anew.
	again    string
	progress *console.Progress
	log      *slog.Logger
	// backend is the connection, once there is one. Who makes a fileRun closes it.
	backend *backend
	started atomic.Pointer[filerun.Started]
	// waiting is why no call is made; empty while calls are.
	waiting string
	slow    slowCalls
	written atomic.Int64
}

// newFileRun makes a run of an input. Its Worker.Upstreams are the caller's to set.
func (a *app) newFileRun(cfg *config.Config, in *filerun.Input, out string) *fileRun {
	r := &fileRun{app: a, cfg: cfg, in: in, out: out, progress: a.newProgress()}
	r.log = slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	r.config = filerun.Config{
		In: in, Out: out, Patience: defaultPatience, DropBodies: cfg.Ledger.DropBodies, CommandFlags: a.where(),
		Connect: r.connect, OnEvent: r.tell,
		Worker: workerConfig(cfg, a.secrets, r.log),
	}
	r.config.Worker.OnEvent = r.slow.note
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
	r.stopsGently(r.progress)
	r.signals.cuts(r.cutShort)
	sum, err := filerun.Run(ctx, r.config)
	r.signals.cuts(nil)
	r.progress.Close()
	if sum.Batch == "" {
		return false, r.sentence(err, sum)
	}
	return err == nil, r.conclude(sum, err)
}

// stopsGently makes the first Ctrl-C drain, and says so.
func (a *app) stopsGently(p *console.Progress) {
	a.signals.drain(func() {
		p.Printf("callq: stopping: the calls that are on their way end first; Ctrl-C again stops at once")
	})
}

// cutShort is the last line of a run that ends at once. What has ended but is not in
// the results file does not count.
func (r *fileRun) cutShort() {
	started := r.started.Load()
	if started == nil {
		return
	}
	r.progress.Close()
	r.report(fmt.Errorf("stopped at once: %s of %s their results; %s",
		console.Grouped(r.written.Load()), console.Subject(started.Calls, "call", "has", "have"), r.goOn(started.Continue)))
}

// goOn says how to go on after a run that did not finish.
func (r *fileRun) goOn(c filerun.Continue) string {
	switch {
	case r.again == "":
		return "the same command starts from nothing"
	case c == filerun.ContinueFromResults:
		return "run the same command again to go on"
	case c == filerun.ContinueNot:
		return "run the same command again; it starts from nothing (with -o FILE it could go on)"
	default:
		return "run the same command again: it begins with the results that are known already"
	}
}

// tell prints an event.
func (r *fileRun) tell(event filerun.Event) {
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

// start warns of what may go wrong, and begins to tell of the calls.
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

// line is the sentence for an event.
func (r *fileRun) line(event filerun.Event) string {
	switch e := event.(type) {
	case filerun.RedriveUnknown:
		err := e.Err
		if r.backend != nil {
			err = r.backend.explain(err)
		}
		return fmt.Sprintf("%s: whether failed calls were redriven since is not known: %v", r.in.Name(), err)
	case filerun.Redriven:
		return fmt.Sprintf("%s failed in %s and redriven since; the queue has the last word", console.Subject(e.Calls, "call", "has", "have"), r.out)
	case filerun.APIUnrecorded:
		return unrecorded(r.in.Name(), e.Upstream, e.BaseURL)
	case filerun.ResultsRestored:
		return fmt.Sprintf("%s of then known to the queue; %s written to %s", console.Subject(e.Results, "result", "was", "were"), itIs(e.Results), r.out)
	case filerun.ResultsReplaced:
		return fmt.Sprintf("%s replaced; %s in %s", console.Subject(e.Results, "earlier result", "is", "are"), itIs(e.Results), e.File)
	case filerun.DoubtfulRepeated:
		return console.Subject(e.Calls, "call", "is", "are") + " made again that may have been carried out already (outcome_unknown)"
	case filerun.ProbeRequested:
		return fmt.Sprintf("%s was paused last time (%s); testing with one call", e.Circuit, e.Why)
	case filerun.UnderWayElsewhere:
		return console.Subject(e.Calls, "call", "is", "are") + " under way in other processes; if one of them was killed, its calls are taken up again within a minute"
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

// itIs is "it is" for one thing and "they are" for several.
func itIs(n int) string {
	if n == 1 {
		return "it is"
	}
	return "they are"
}

// knownLine says that results come from the queue, for it looks as if calls had been
// made.
func (r *fileRun) knownLine(e filerun.KnownResults) string {
	fresh := ""
	switch {
	case e.Resumed: // an earlier run was killed before it had written them
	case r.in.Spooled():
		fresh = "; the same calls under other keys are new calls"
	default:
		fresh = "; a copy of " + r.in.Name() + " under another name has new calls"
	}
	line := knownText(e.Results, "is") + fresh
	if e.Bodiless > 0 {
		line += fmt.Sprintf("\n%s of the results without a body, marked body_freed: it was freed from Redis when an earlier results file or export had it; "+
			"without that file, --redo-keys makes such a call again", console.Grouped(int64(e.Bodiless)))
	}
	return line
}

// failedText says in half a line how many calls did not end well; it is empty where all
// did.
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
