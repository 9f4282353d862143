package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/waiting"
	"github.com/spf13/cobra"
)

// runFlags are the flags of run, as they were given.
type runFlags struct {
	out         string
	redo        []string
	redoKeys    []string
	redoFrom    string
	first       int
	dryRun      bool
	patience    time.Duration
	concurrency string
	sameAPI     bool
}

// defaultPatience is how long a run waits for a person to mend an account.
const defaultPatience = 15 * time.Minute

func (a *app) runCommand() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run FILE",
		Short: "Make the calls of a file and write every result",
		Long: `Make the calls of a file, one JSON object a line, and write the result of each,
one JSON object a line, in the order in which they end. FILE and OUT may be -.
FILE may be compressed with gzip or zstd, if its name ends in .gz or .zst. The
results of a stream, such as /dev/stdin or <(…), go to standard output.

A configuration says which API is called:

  upstreams:
    patsnap:
      base_url: https://connect.patsnap.com
      policy: patsnap
      auth: {type: bearer, token: "${env:PATSNAP_TOKEN}"}

Run again with the same OUT it goes on where it ended: a call whose result is
there is not made again, one that was changed in FILE is. A line without a key is
known by its content, so that inserting, removing, sorting or splitting lines
repeats no call; equal lines are one call. Where only OUT was
deleted, the queue still knows the results for as long as ledger.retention says
(a queue in the process, where no Redis is installed, knows nothing any more),
without the bodies over 256 KiB and those that ledger.bodies lets go: such a
result has "body_freed": true;
the calls of a copy of FILE under another name are others and are made anew.

A result that has to be replaced, as that of a changed line, is moved to
OUT.old.jsonl first, and so is that of a call that --redo, --redo-keys or
--redo-from makes again. Results of calls that are not in FILE stay; an OUT in
which there are no others is another file's, and is refused.

OUT and the queue remember the base_url. With another one run refuses to go on,
for results of one API must not count for another; --same-api says that it is the
same.

Calls that must not be made twice are noted in OUT.sent while they are on their
way: should the run die, the next one with the same OUT does not send them again.`,
		Example: `  callq run calls.jsonl
  callq run calls.jsonl -o results.jsonl --first 10
  callq run calls.jsonl --redo dead
  callq run calls.jsonl --redo-keys row-7,row-9`,
		Args: takes("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.first < 0 || f.patience < 0 {
				return usage(cmd, errors.New("--first and --patience cannot be below 0"))
			}
			return a.runFile(cmd.Context(), args[0], f)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.out, "out", "o", "", "`OUT` for the results (default FILE.results.jsonl, or - where FILE is - or another stream)")
	flags.StringSliceVar(&f.redo, "redo", nil, "make calls again that ended in these `STATES`: dead, dropped, cancelled")
	flags.StringSliceVar(&f.redoKeys, "redo-keys", nil, "make the calls with these `KEYS` again, done ones too")
	flags.StringVar(&f.redoFrom, "redo-from", "", "make the calls again of which `FILE` has the results or keys, one a line, done ones too; - is standard input")
	flags.IntVar(&f.first, "first", 0, "only the first `N` calls of the file; 0: all")
	flags.BoolVar(&f.dryRun, "dry-run", false, "only say what would be called and what it costs, and show the first request")
	flags.DurationVar(&f.patience, "patience", defaultPatience, "how long to wait for a person to mend a credential, a balance or a setting; 0: for ever")
	flags.BoolVar(&f.sameAPI, "same-api", false, "go on though base_url was changed, as it is the same API")
	flags.StringVar(&f.concurrency, "concurrency", "", "`CALLS` in flight at once, over all upstreams (default 64)")
	return cmd
}

func (a *app) runFile(ctx context.Context, name string, f runFlags) (err error) {
	redo, err := redoStates(f.redo)
	if err != nil {
		return err
	}
	chosen, err := a.chosenCalls(name, f)
	if err != nil {
		return err
	}
	cfg, err := a.config(config.Flag{Name: "--concurrency", Value: f.concurrency}, config.Flag{})
	if err != nil {
		return err
	}
	if f.dryRun {
		return a.dryRun(cfg, name, f, redo, chosen)
	}
	upstreams, err := upstreamsOf(cfg)
	if err != nil {
		return err
	}
	in, err := a.openCalls(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	return a.runInput(ctx, job{
		cfg: cfg, upstreams: upstreams, in: in, out: outName(name, f.out), redo: redo, chosen: chosen, first: f.first, patience: f.patience, sameAPI: f.sameAPI,
		again: a.againLine(in, f),
	})
}

// stopsGently makes the first Ctrl-C drain, and says so; the next frame of a bar
// would wipe it out if the bar did not know.
func (a *app) stopsGently(p *progress) {
	a.signals.drain(func() {
		p.say("callq: stopping: the calls that are on their way end first; Ctrl-C again stops at once")
	})
}

// outName is where the results of a file go. Those of a stream go to standard output: there is no place beside it.
func outName(file, out string) string {
	switch {
	case out != "":
		return out
	case isStream(file):
		return "-"
	default:
		return file + ".results.jsonl"
	}
}

func redoStates(list []string) (map[tasks.State]bool, error) {
	states := map[tasks.State]bool{}
	for _, one := range list {
		switch s := tasks.State(strings.TrimSpace(one)); s {
		case tasks.StateDead, tasks.StateDropped, tasks.StateCancelled:
			states[s] = true
		case tasks.StateDone:
			return nil, misuse("--redo done: done calls are made again by --redo-keys or --redo-from; write dead, dropped or cancelled. For fresh answers to all run a copy of the file under another name")
		default:
			return nil, misuse("--redo %s: there is nothing to make again; write dead, dropped or cancelled", one)
		}
	}
	return states, nil
}

// job is one file to be taken from calls to results.
type job struct {
	cfg       *config.Config
	upstreams []worker.Upstream
	in        *callsFile
	out       string
	redo      map[tasks.State]bool
	chosen    []chosenCall
	first     int
	patience  time.Duration
	sameAPI   bool
	// again is the command line that goes on with the file; empty where the same
	// command begins anew.
	again string
	// onEvent sees every attempt, with the writer that does not tear the progress.
	onEvent func(*progress, worker.Event)
	// opened, unless nil, is called once Redis is open.
	opened func(*desk, *progress) error
	// stay, unless nil, is what goes on when the calls have ended and the summary
	// is printed; its error is that of the whole.
	stay func(*desk) error
}

// runInput makes the calls of one file and writes their results.
func (a *app) runInput(ctx context.Context, j job) (err error) {
	begin := time.Now()
	bar := a.newProgress()
	a.stopsGently(bar)
	rules := rulesOf(j.cfg)
	rules.AllowJobs = false // no code for jobs is in this process
	p, err := planOf(j.in, rules, j.first)
	if err != nil {
		return err
	}
	a.showRefusals(j.in.name, p)
	a.showEmpty(j.in.name, p.accepted+p.refused)
	if err := sameFile(j.in, j.out); err != nil {
		return err
	}
	out, err := a.openResults(j.out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.close()) }()
	sent := &sentFile{}
	if out.file != nil {
		if sent, err = readSent(out.name, p.nameOf); err != nil {
			return err
		}
	}
	if err := p.choose(j.chosen, j.in.name, out); err != nil {
		return err
	}
	past, err := readPast(out, p, sent, j.redo, nil)
	if err != nil {
		return err
	}
	s := &session{upstreams: j.upstreams, rules: rules, in: j.in, plan: p, out: out, sent: sent, redo: j.redo, progress: bar, apis: apisOf(j.cfg), sameAPI: j.sameAPI}
	sent.apis = s.apis
	defer s.progress.close()
	s.log = slog.New(slog.NewTextHandler(s.progress, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if p.open() > 0 || j.opened != nil || len(past.failed) > 0 {
		if s.desk, err = a.connect(ctx, j.cfg, "run", false, s.log); err == nil {
			defer s.desk.close(&err)
			past, err = s.renew(ctx, past)
		}
		if err != nil && ctx.Err() != nil && j.again != "" {
			return errors.New("interrupted before the first call was made; run the same command again")
		}
		if err != nil && (p.open() > 0 || j.opened != nil || ctx.Err() != nil || statusOf(err) == exitUsage) {
			return err
		}
		if err != nil {
			if s.desk != nil {
				err = s.desk.explain(err)
			}
			s.progress.say("%s: whether failed calls were redriven since is not known: %v", j.in.name, err)
			s.deaf, err = true, nil
		}
	}
	if err := s.checkAPIs(ctx, past); err != nil {
		return err
	}
	if err := s.goOn(past); err != nil {
		return err
	}
	if past.doubtful > 0 {
		s.progress.say("%s made again that may have been carried out already (outcome_unknown)", verbalOf(past.doubtful, "call", "is", "are"))
	}
	s.tally, s.others = past.tally, past.others(j.in.batch)
	resumed := p.accepted - p.open()
	if p.open() > 0 || j.opened != nil {
		openFiles{}.warn(j.cfg, s.log)
		s.desk.warnOfLoss(ctx, s.log, noted)
		if s.desk.conn.Volatile {
			s.progress.say("%s", s.desk.conn.Notice)
		}
		if j.opened != nil {
			if err := j.opened(s.desk, s.progress); err != nil {
				return err
			}
		}
		s.progress.begin(p.accepted, resumed)
		sent.must = s.desk.conn.Volatile
		s.written.Store(int64(resumed))
		a.signals.cuts(func() { a.cutShort(s, j) })
		err = a.session(ctx, s, j)
		a.signals.cuts(nil)
		err = errors.Join(err, sent.close())
		s.progress.close()
	}
	sum := summary{
		File: j.in.name, Results: j.out, Batch: j.in.batch, Calls: p.accepted, Open: p.open(), Resumed: resumed,
		Known: s.known, Duplicates: p.repeats.n, repeats: p.repeats, Replaced: len(past.gone), Refused: p.refused, Seconds: time.Since(begin).Seconds(),
	}
	if s.out.file != nil || s.desk != nil && !s.desk.conn.Volatile {
		sum.again = j.again
	}
	s.tally.fill(&sum)
	errs := []error{err, a.closing(sum)}
	if j.stay != nil && err == nil && p.open() == 0 {
		return errors.Join(errs[1], j.stay(s.desk))
	}
	if err == nil && p.open() > 0 {
		errs = append(errs, fmt.Errorf("interrupted: %s not finished; %s", verbalOf(p.open(), "call", "is", "are"), resumeHint(s, j)))
	}
	if p.refused > 0 {
		errs = append(errs, errFindings)
	}
	if s.tally.losses() {
		errs = append(errs, errLosses)
	}
	return errors.Join(errs...)
}

// goOn makes the results file, and what was noted beside it, those of this run.
func (s *session) goOn(e *past) error {
	var now apis
	if s.sameAPI {
		now = s.apis
	}
	if err := s.out.resume(e.earlier, now); err != nil {
		return err
	}
	if n := len(e.gone); n > 0 {
		s.progress.say("%s replaced; %s in %s", verbalOf(n, "earlier result", "is", "are"), map[bool]string{true: "it is", false: "they are"}[n == 1], s.out.replaced())
	}
	// The notes of calls that have a result go only once that is safe.
	if err := s.out.sync(); err != nil {
		return err
	}
	return s.sent.rewrite()
}

// session runs the calls with what is around them.
func (a *app) session(ctx context.Context, s *session, j job) error {
	if j.onEvent != nil {
		s.onEvent = func(e worker.Event) { j.onEvent(s.progress, e) }
	}
	var names []string
	for _, u := range j.upstreams {
		names = append(names, u.Name)
	}
	s.watch = &waiting.Watch{
		Circuits: s.desk.circuits, Upstreams: names, Patience: j.patience,
		Tell: func(c waiting.Change) { s.progress.say("%s", changeLine(c, time.Now())) },
	}
	s.why = a.newTeller(s.desk, true, func(line string) { s.progress.say("%s", line) })
	s.why.Watched = true
	if err := s.tryMended(ctx, names); err != nil {
		return s.desk.explain(err)
	}
	s.next = resumeHint(s, j)
	err := s.run(ctx)
	var stuck *waiting.StuckError
	if errors.As(err, &stuck) {
		r := stuck.Record
		line := stuckLine(r.Name.String(), policy.Class(r.Class), stuck.Patience, waiting.Answer(r))
		return fmt.Errorf("%s; then %s (with --redo dead also the calls that were refused are made)", line, resumeHint(s, j))
	}
	return err
}

// tryMended has the probe go out at once where an earlier run left a circuit open
// for a person: who runs it again has mended what it is about, or wants to know.
func (s *session) tryMended(ctx context.Context, upstreams []string) error {
	records, err := s.desk.circuits.Watch(ctx, upstreams)
	if err != nil {
		return err
	}
	for _, r := range records {
		ended, err := s.desk.circuits.Mended(ctx, r)
		if err != nil {
			return err
		}
		if ended {
			s.progress.say("%s was left held (%s): one call finds out whether it works again", r.Name, waiting.Answer(r))
		}
	}
	return nil
}

// resumeHint says how to go on after a run that did not finish.
func resumeHint(s *session, j job) string {
	switch {
	case j.again == "":
		return "the same command begins anew"
	case s.out.file != nil:
		return "run the same command again to go on"
	case s.desk.conn.Volatile:
		return "run the same command again to begin anew (with -o FILE it could go on)"
	default:
		return "run the same command again: it begins with the results that are known already"
	}
}

// cutShort is the last line of a run that ends at once. What has ended but is not in
// the results file does not count.
func (a *app) cutShort(s *session, j job) {
	s.progress.close()
	a.report(fmt.Errorf("stopped at once: %s of %s their results; %s",
		grouped(s.written.Load()), verbalOf(s.plan.accepted, "call", "has", "have"), resumeHint(s, j)))
}

// closing prints the summary: on stdout, or on stderr where stdout holds results. That
// nobody reads it does not change how the run ended.
func (a *app) closing(s summary) error {
	to := a.stdout
	if s.Results == "-" {
		to, s.Results = a.stderr, ""
		if a.quiet && !a.json {
			return nil
		}
	}
	if err := a.printSummary(to, s); !readerLeft(err) {
		return err
	}
	return nil
}

// showRefusals says which lines are not calls.
func (a *app) showRefusals(name string, p *plan) {
	for _, bad := range p.refusals {
		a.refuse(name, bad)
	}
	a.refusedMore(name, p.refused)
}

// refuse says why a line is no call.
func (a *app) refuse(name string, bad *tasks.FieldError) {
	a.report(&located{name + ": " + bad.Error()})
}

// refusedMore says how many of the refused lines were not shown.
func (a *app) refusedMore(name string, refused int) {
	if more := refused - maxRefusals; more > 0 {
		fmt.Fprintf(a.stderr, "%s: and %s\n", printable(name), verbal(more, "more refused line", "more refused lines"))
	}
}

// showEmpty says that there is nothing in a file, for that is hardly meant.
func (a *app) showEmpty(name string, lines int) {
	if lines == 0 {
		a.progressf(`%s is empty: it holds no calls; write one JSON object a line, as {"path":"/…"}`, printable(name))
	}
}

// sameFile refuses results that would overwrite the calls.
func sameFile(in *callsFile, out string) error {
	if out == "-" || in.spooled {
		return nil
	}
	calls, err := in.file.Stat()
	if err != nil {
		return err
	}
	if results, err := os.Stat(out); err == nil && os.SameFile(calls, results) {
		return misuse("%s holds the calls; choose another file for the results with -o", out)
	}
	return nil
}
