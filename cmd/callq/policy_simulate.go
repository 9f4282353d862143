package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/internal/atomicfile"
	"github.com/seed-2903acc3/callq/worker/lab"
	"github.com/seed-2903acc3/callq/worker/simapi"
	"github.com/spf13/cobra"
)

// maxScript is the size of the largest script that simulate reads, in bytes.
const maxScript = 1 << 20

// simulating is callq policy simulate with its flags.
type simulating struct {
	*app
	file, api, plot string
	cfg             lab.Config
}

func (a *app) policySimulateCommand() *cobra.Command {
	s := &simulating{app: a}
	cmd := &cobra.Command{
		Use:   "simulate -f POLICY --api SCRIPT",
		Short: "Try a policy with simulated calls: hours in seconds",
		Long: `Make calls that only exist in this process, against a simulated API on a simulated
clock, and show how many requests, refusals and attempts a policy needs, and how long
it takes. Nothing is sent.

SCRIPT is a file that says what the API answers, as for callq simapi --script:

  20% * * -> body={"state": "BUSY"} x2; ok
  * *     -> http:460 header=X-Fault:credit body={"code": 17}

The calls are GET /1, GET /2 and so on; --path changes that. Workers make one call each
at a time.

The policy, the answers and the limits are the real ones. Queue, circuit, probes and
workers are modelled. pace, budgets, priorities and credentials are not.`,
		Example: `  callq policy simulate -f ./my-api.yaml --api faults.txt --calls 20000 --workers 16
  callq policy simulate -f openai --api faults.txt --limit 500/min --plot night.svg`,
		Args: takes(),
		RunE: func(*cobra.Command, []string) error { return s.run() },
	}
	flags := cmd.Flags()
	flags.StringVarP(&s.file, "file", "f", "", "the `POLICY`: a file, or the name of a preset")
	flags.StringVar(&s.api, "api", "", "`SCRIPT` file of what the API answers; - reads it from stdin")
	flags.IntVar(&s.cfg.Calls, "calls", 1000, "make `N` calls")
	flags.IntVar(&s.cfg.Workers, "workers", 8, "make `N` calls at once")
	flags.StringVar(&s.cfg.Path, "path", "/{n}", "the calls' `PATH`; {n} is the number of the call")
	flags.StringArrayVar(&s.cfg.Limits, "limit", nil, "`LIMIT` of the upstream, such as 10/s, 5000/day or adaptive; may be repeated")
	flags.DurationVar(&s.cfg.Latency, "latency", 100*time.Millisecond, "an answer takes `D`, besides what the script says")
	flags.DurationVar(&s.cfg.Timeout, "timeout", 30*time.Second, "a call is given up after `D`")
	flags.Uint64Var(&s.cfg.Seed, "seed", 1, "`N` that chooses the random numbers")
	flags.StringVar(&s.plot, "plot", "", "write calls and holds over time to this `SVG` file")
	for flag, endings := range map[string][]string{"file": {"yaml", "yml"}, "api": {"txt"}, "plot": {"svg"}} {
		if err := cmd.MarkFlagFilename(flag, endings...); err != nil {
			panic(err) // the command does not have the flag
		}
	}
	return cmd
}

func (s *simulating) run() (err error) {
	switch {
	case s.file == "":
		return usageError("name the policy: -f FILE, or -f with the name of a preset")
	case s.api == "":
		return usageError("say what the API answers: --api SCRIPT (callq simapi --help describes scripts)")
	case s.cfg.Calls < 1 || s.cfg.Workers < 1 || s.cfg.Latency <= 0 || s.cfg.Timeout <= 0:
		return usageError("--calls, --workers, --latency and --timeout must be above 0")
	}
	if s.cfg.Policy, err = openPolicy(s.file); err != nil {
		return err
	}
	text, err := s.readInput(s.api, maxScript)
	if err != nil {
		return err
	}
	if slices.Contains(simapi.APIs(), s.cfg.Policy.Name()) {
		s.cfg.API = s.cfg.Policy.Name()
	}
	if s.cfg.Script, err = simapi.ParseScriptFor(s.cfg.API, string(text)); err != nil {
		var bad *simapi.ParseError
		if errors.As(err, &bad) {
			return usageError("%s:%d: %s", s.api, bad.Line, bad.Problem)
		}
		return usageError("%s: %w", s.api, err)
	}
	s.cfg.Start = time.Now().UTC().Truncate(time.Second)
	report, err := lab.Run(s.cfg)
	if err != nil {
		return usageError("%w", err)
	}
	if s.plot != "" {
		if err := s.writePlot(report); err != nil {
			return err
		}
	}
	return s.print(report)
}

func (s *simulating) writePlot(report lab.Report) error {
	f, err := atomicfile.Create(s.plot, 0o644)
	if err != nil {
		return usageError("%w", unwritable(err))
	}
	if err := report.Plot(f, s.title(report)); err != nil {
		f.Discard()
		return err
	}
	return f.Commit()
}

func (s *simulating) title(report lab.Report) string {
	return fmt.Sprintf("%s by the policy %s: %s, %s", console.Plural(report.Calls, "call"), cmp.Or(s.cfg.Policy.Name(), s.file),
		console.Plural(report.Sent, "request"), console.Duration(report.Took))
}

// simulationJSON is what simulate prints, as JSON.
type simulationJSON struct {
	Policy      string    `json:"policy"`
	API         string    `json:"api"`
	Seed        uint64    `json:"seed"`
	Calls       int       `json:"calls"`
	Open        int       `json:"open"`
	Requests    int       `json:"requests"`
	Refused     int       `json:"refused"`
	Retried     int       `json:"retried"`
	Attempts    int       `json:"attempts"`
	Seconds     float64   `json:"seconds"`
	HeldSeconds float64   `json:"held_seconds"`
	Holds       int       `json:"holds"`
	Ends        []endJSON `json:"ends"`
}

type endJSON struct {
	lab.End
	Count int `json:"count"`
}

func (s *simulating) print(report lab.Report) error {
	ends := []endJSON{}
	for end, n := range report.Ends {
		ends = append(ends, endJSON{end, n})
	}
	slices.SortFunc(ends, func(a, b endJSON) int {
		return cmp.Or(b.Count-a.Count, cmp.Compare(a.State, b.State), cmp.Compare(a.Class, b.Class), cmp.Compare(a.Rule, b.Rule))
	})
	if s.json {
		return s.printJSON(simulationJSON{
			Policy: cmp.Or(s.cfg.Policy.Name(), s.file), API: cmp.Or(s.cfg.API, simapi.DefaultAPI), Seed: s.cfg.Seed,
			Calls: report.Calls, Open: report.Open, Requests: report.Sent, Refused: report.Refused, Retried: report.Retried,
			Attempts: report.Attempts, Seconds: report.Took.Seconds(), HeldSeconds: report.Held.Seconds(), Holds: len(report.Holds), Ends: ends,
		})
	}
	if s.cfg.Policy.HasPace() {
		s.progressf("The policy has pace, which is not simulated: a real run is refused less.")
	}
	return s.write(s.stdout, report, ends)
}

func (s *simulating) write(w io.Writer, report lab.Report, ends []endJSON) error {
	t := console.NewTable(w, "calls", console.Grouped(int64(report.Calls)))
	if report.Open > 0 {
		t.Row("not ended", console.Grouped(int64(report.Open))+" within "+console.Duration(lab.Longest))
	}
	t.Row("requests", console.Grouped(int64(report.Sent)))
	t.Row("refused", console.Grouped(int64(report.Refused))+", not counted as attempts")
	t.Row("retried", console.Grouped(int64(report.Retried)))
	t.Row("attempts", console.Grouped(int64(report.Attempts)))
	t.Row("time", console.Duration(report.Took))
	t.Row("held", console.Duration(report.Held)+", "+console.Plural(len(report.Holds), "time"))
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	t = console.NewTable(w, "CALLS", "END", "CLASS", "RULE")
	for _, e := range ends {
		t.Row(console.Grouped(int64(e.Count)), e.State, e.Class, e.Rule)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if s.plot != "" {
		s.progressf("The plot is in %s.", s.plot)
	}
	return nil
}
