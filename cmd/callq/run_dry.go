package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/limit"
)

// forecast is what --dry-run says.
type forecast struct {
	File string `json:"file"`
	// Calls are those that would be made: all but the Resumed, which an earlier
	// run has finished.
	Calls   int `json:"calls"`
	Resumed int `json:"resumed"`
	// Unsent are those of the Calls that end as outcome_unknown: a run that died may
	// have sent them.
	Unsent     int             `json:"unsent"`
	Duplicates int             `json:"duplicates"`
	Refused    int             `json:"refused"`
	Endpoints  []*endpointCost `json:"endpoints"`
	// Cost is the price of all calls by cost.per_call; null where an upstream has
	// none, or they are in different currencies. Currency is what the budgets call
	// it; null where they do not say. Seconds is how long they take at least under limits and budgets; null
	// where those allow them all at once.
	Currency *string  `json:"currency"`
	Cost     *string  `json:"cost"`
	Seconds  *float64 `json:"seconds"`

	// Requests are the first request to each upstream as it would go out, with stars for the credential.
	Requests []*firstRequest `json:"requests"`

	// costLine is the cost for people, empty where none is configured.
	costLine string
	span     span
	results  string
	repeats  repeats
}

// span is how long calls take at least, and the rule that says so.
type span struct {
	atLeast        time.Duration
	upstream, rule string
	// priced tells that the rule is a budget of money.
	priced bool
}

// endpointCost is one endpoint's part of it.
type endpointCost struct {
	Upstream string `json:"upstream"`
	Endpoint string `json:"endpoint"`
	Calls    int    `json:"calls"`
}

// dryRun says what a run would call, by the file and by what an earlier run has
// written.
func (a *app) dryRun(cfg *config.Config, name string, f runFlags, redo map[tasks.State]bool, chosen []chosenCall) (err error) {
	if _, err := policiesOf(cfg); err != nil {
		return err
	}
	in, err := a.openCalls(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	rules := rulesOf(cfg)
	rules.AllowJobs = false
	p, err := planOf(in, rules, f.first)
	if err != nil {
		return err
	}
	a.showRefusals(name, p)
	a.showEmpty(name, p.accepted+p.refused)
	results := outName(name, f.out)
	if err := sameFile(in, results); err != nil {
		return err
	}
	_, unsent, err := foresee(results, p, redo, chosen, name)
	if err != nil {
		return err
	}
	out := forecast{Unsent: unsent, File: name, Calls: p.open(), Resumed: p.accepted - p.open(), Duplicates: p.repeats.n, repeats: p.repeats, Refused: p.refused, results: results}
	if out.Endpoints, out.Requests, err = endpointsOf(cfg, in, p, rules); err != nil {
		return err
	}
	priceOf(cfg, out.Endpoints).fill(&out)
	if out.span, err = spanOf(cfg, out.Endpoints, time.Now()); err != nil {
		return err
	}
	if out.span.atLeast > 0 {
		seconds := out.span.atLeast.Truncate(time.Millisecond).Seconds()
		out.Seconds = &seconds
	}
	a.showMissing(cfg, out.Calls)
	if err := a.printForecast(out); err != nil {
		return err
	}
	if p.refused > 0 {
		return errFindings
	}
	return nil
}

// showMissing says for what the run itself would end before its first call: what
// the configuration refers to is of no use to a dry run, and may be elsewhere.
func (a *app) showMissing(cfg *config.Config, calls int) {
	list := each(cfg.ResolveUpstreams(), found)
	if calls > 0 {
		_, err := cfg.RedisURL()
		list = append(list, each(err, found)...)
	}
	for _, one := range list {
		a.report(errors.New("the run itself needs this first: " + one.Detail))
	}
}

// endpointsOf counts the calls of a plan that have not ended, the most frequent
// endpoint first, and makes the first request to each upstream.
func endpointsOf(cfg *config.Config, in *callsFile, p *plan, rules tasks.Rules) ([]*endpointCost, []*firstRequest, error) {
	fold, err := endpointOf(cfg)
	if err != nil {
		return nil, nil, err
	}
	file, err := in.again()
	if err != nil {
		return nil, nil, err
	}
	counts := map[endpointCost]int{}
	requests, seen := []*firstRequest{}, map[string]bool{}
	for line, err := range p.calls(0, file, rules, nil) {
		if err != nil {
			return nil, nil, misuse("%s: %w", in.name, err)
		}
		c := line.Call
		if !seen[c.Upstream] {
			seen[c.Upstream] = true
			c.Batch = in.batch
			first, err := previewOf(cfg, c)
			if err != nil {
				return nil, nil, err
			}
			if first != nil {
				requests = append(requests, first)
			}
		}
		path, err := c.URLPath()
		if err != nil {
			path = c.Path
		}
		endpoint := c.Method + " " + path
		if cfg.Upstream(c.Upstream) != nil {
			endpoint = fold(c.Upstream, c.Method, path)
		}
		counts[endpointCost{Upstream: c.Upstream, Endpoint: endpoint}]++
	}
	list := []*endpointCost{}
	for _, e := range slices.SortedFunc(maps.Keys(counts), func(a, b endpointCost) int {
		return cmp.Or(counts[b]-counts[a], cmp.Compare(a.Upstream, b.Upstream), cmp.Compare(a.Endpoint, b.Endpoint))
	}) {
		e.Calls = counts[e]
		list = append(list, &e)
	}
	return list, requests, nil
}

// spanOf finds the upstream whose calls take the longest under its limits and
// budgets when they begin now and nothing of them is used, and the rule that makes
// it so. Upstreams share nothing, so their calls take no longer together.
func spanOf(cfg *config.Config, endpoints []*endpointCost, now time.Time) (longest span, err error) {
	for _, u := range cfg.Upstreams {
		calls := int64(0)
		for _, e := range endpoints {
			if e.Upstream == u.Name {
				calls += int64(e.Calls)
			}
		}
		ask := func(text string, priced bool, limits, budgets []string) {
			price := ""
			if u.Cost != nil {
				price = limit.FormatMicros(u.Cost.PerCallMicros)
			}
			p, planErr := limit.NewPlan(limits, budgets, price)
			err = errors.Join(err, planErr)
			if d := p.Duration(calls, now); d > longest.atLeast {
				longest = span{d, u.Name, text, priced}
			}
		}
		for _, l := range u.Limits {
			ask(l.Text, false, []string{l.Text}, nil)
		}
		for _, b := range u.Budget {
			ask(b.Text, b.Currency != "", nil, []string{b.Text})
		}
	}
	return longest, err
}

// String is the sentence for people.
func (s span) String() string {
	switch {
	case s.atLeast == 0:
		return "Time: unknown; it depends on how fast the API answers."
	case s.priced:
		return fmt.Sprintf("Time: at least %s under the limits (%s: %s), if each call is billed cost.per_call.", humanDuration(s.atLeast), s.upstream, s.rule)
	}
	return fmt.Sprintf("Time: at least %s under the limits (%s: %s), however fast the API answers.", humanDuration(s.atLeast), s.upstream, s.rule)
}

func (a *app) printForecast(f forecast) error {
	if a.json {
		return a.printJSON(f)
	}
	text := &errWriter{w: a.stdout}
	fmt.Fprintf(text, "%s would be made.\n", plural(f.Calls, "call"))
	if f.Resumed > 0 {
		fmt.Fprintf(text, "%s finished by an earlier run; see %s.\n", verbalOf(f.Resumed, "call", "was", "were"), printable(f.results))
	}
	if f.Duplicates > 0 {
		fmt.Fprintf(text, "%s.\n", &f.repeats)
	}
	if len(f.Endpoints) > 0 {
		t := newTable(text, "CALLS", "UPSTREAM", "ENDPOINT")
		for _, e := range f.Endpoints {
			t.row(grouped(int64(e.Calls)), e.Upstream, e.Endpoint)
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	if f.Unsent > 0 {
		fmt.Fprintf(text, "Of these, %s not sent again, for a run that died may have sent %s: outcome_unknown.\n",
			verbal(f.Unsent, "is", "are"), map[bool]string{true: "it", false: "them"}[f.Unsent == 1])
	}
	if f.Calls == 0 {
		return text.err // nothing costs nothing and takes no time
	}
	if f.costLine != "" {
		fmt.Fprintln(text, f.costLine)
	}
	fmt.Fprintln(text, f.span)
	for _, r := range f.Requests {
		r.print(text)
	}
	return text.err
}
