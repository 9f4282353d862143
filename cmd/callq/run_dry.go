package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/worker/filerun"
)

// forecast is the output of --dry-run.
type forecast struct {
	File string `json:"file"`
	// Calls is how many calls would be made. It does not include the Resumed, which
	// an earlier run has finished.
	Calls   int `json:"calls"`
	Resumed int `json:"resumed"`
	// Unsent is how many of the Calls end as outcome_unknown without being sent,
	// because a killed run may have sent them.
	Unsent     int             `json:"unsent"`
	Duplicates int             `json:"duplicates"`
	Refused    int             `json:"refused"`
	Endpoints  []*endpointCost `json:"endpoints"`
	// Cost is the price of all calls by cost.per_call. It is null if an upstream has
	// none, or if the currencies differ. Currency is that of the budgets, null if they
	// give none. Seconds is how long the calls take at least under limits and budgets,
	// null if those allow all calls at once.
	Currency *string  `json:"currency"`
	Cost     *string  `json:"cost"`
	Seconds  *float64 `json:"seconds"`

	// Requests are the first request to each upstream as it would be sent, with stars
	// for the credential.
	Requests []*firstRequest `json:"requests"`

	// costLine is the cost for people, empty if none is configured.
	costLine string
	estimate filerun.Estimate
	results  string
}

// endpointCost is the number of calls of one endpoint.
type endpointCost struct {
	Upstream string `json:"upstream"`
	Endpoint string `json:"endpoint"`
	Calls    int    `json:"calls"`
}

// forecast prints what the run would do, from the file and from what earlier runs have
// written.
func (r *fileRun) forecast(ctx context.Context) error {
	est, err := filerun.Forecast(ctx, r.config)
	if err != nil {
		return r.withAdvice(err, filerun.Summary{})
	}
	out := forecast{
		File: r.in.Name(), Calls: est.Calls, Resumed: est.Resumed, Unsent: est.Unsent, Duplicates: est.Duplicates, Refused: est.Refused,
		Endpoints: []*endpointCost{}, Requests: []*firstRequest{}, estimate: est, results: r.out,
	}
	for _, e := range est.Endpoints {
		out.Endpoints = append(out.Endpoints, &endpointCost{Upstream: e.Upstream, Endpoint: e.Endpoint, Calls: e.Calls})
	}
	for _, first := range est.Requests {
		one, err := describe(first)
		if err != nil {
			return err
		}
		out.Requests = append(out.Requests, one)
	}
	out.addCosts()
	if est.AtLeast > 0 {
		seconds := est.AtLeast.Truncate(time.Millisecond).Seconds()
		out.Seconds = &seconds
	}
	missing := r.missing(r.cfg, out.Calls)
	if err := r.printForecast(out); err != nil {
		return err
	}
	switch {
	case missing != nil:
		return missing
	case est.Refused > 0:
		return errFindings
	}
	return nil
}

// missing returns the errors with which the real run would end before its first call: those
// of references of the configuration, which a dry run does not need.
func (a *app) missing(cfg *config.Config, calls int) error {
	list := each(cfg.ResolveUpstreams(), found)
	if calls > 0 {
		_, err := cfg.RedisURL()
		list = append(list, each(err, found)...)
	}
	var errs []error
	for _, one := range list {
		errs = append(errs, usageError("before running: %s", one.Detail))
	}
	return errors.Join(errs...)
}

// durationText says how long the calls take.
func (f forecast) durationText() string {
	s := f.estimate
	switch {
	case s.AtLeast == 0:
		return "Time: unknown; it depends on how fast the API answers."
	case s.Priced:
		return fmt.Sprintf("Time: at least %s under the limits (%s: %s), if each call is billed cost.per_call.", console.Duration(s.AtLeast), s.Upstream, s.Rule)
	}
	return fmt.Sprintf("Time: at least %s under the limits (%s: %s), however fast the API answers.", console.Duration(s.AtLeast), s.Upstream, s.Rule)
}

func (a *app) printForecast(f forecast) error {
	if a.json {
		return a.printJSON(f)
	}
	text := &errWriter{w: a.stdout}
	fmt.Fprintf(text, "%s would be made.\n", console.Plural(f.Calls, "call"))
	if f.Resumed > 0 {
		fmt.Fprintf(text, "%s finished by an earlier run; see %s.\n", console.Subject(f.Resumed, "call", "was", "were"), console.Printable(f.results))
	}
	if f.Duplicates > 0 {
		fmt.Fprintf(text, "%s.\n", repeatsText(f.Duplicates, f.estimate.Repeats))
	}
	if len(f.Endpoints) > 0 {
		t := console.NewTable(text, "CALLS", "UPSTREAM", "ENDPOINT")
		for _, e := range f.Endpoints {
			t.Row(console.Grouped(int64(e.Calls)), e.Upstream, e.Endpoint)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	if f.Unsent > 0 {
		fmt.Fprintf(text, "Of these, %s not sent again, because a killed run may have sent %s: outcome_unknown.\n",
			console.Count(f.Unsent, "is", "are"), map[bool]string{true: "it", false: "them"}[f.Unsent == 1])
	}
	if f.Calls == 0 {
		return text.err // without calls there is no cost and no time
	}
	if f.costLine != "" {
		fmt.Fprintln(text, f.costLine)
	}
	fmt.Fprintln(text, f.durationText())
	for _, r := range f.Requests {
		r.print(text)
	}
	return text.err
}
