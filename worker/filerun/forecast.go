package filerun

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/limit"
)

// Estimate is what a run would do.
type Estimate struct {
	// Calls are those that would be made, Resumed those that have a result. Unsent of
	// the Calls would end as outcome_unknown: a run that died may have sent them.
	Calls, Resumed, Unsent int
	// Refused lines are not calls. Duplicates are lines that are the same call as a
	// line before; Repeats are the first of them.
	Refused, Duplicates int
	Repeats             []Repeat
	// Endpoints are those of the Calls, the most frequent first.
	Endpoints []EndpointCalls
	// Requests are the first request to each upstream, with stars for the credential.
	Requests []FirstRequest
	// Costs are what the calls cost by CostPerCall, by currency; the currency is empty
	// where no budget names one. Unpriced are the upstreams whose price is not known.
	// Both are empty where no upstream has a cost.
	Costs    []Cost
	Unpriced []string
	// AtLeast is how long the calls take under the limits and budgets when they begin
	// now and nothing of these is used; 0: no limit keeps them. Rule of Upstream says
	// so; Priced reports that it is a budget of money.
	AtLeast        time.Duration
	Upstream, Rule string
	Priced         bool
}

// EndpointCalls is how many calls an endpoint gets.
type EndpointCalls struct {
	Upstream, Endpoint string
	Calls              int
}

// FirstRequest is the first request to an upstream as it would go out.
type FirstRequest struct {
	Upstream, Key string
	Request       *http.Request
}

// Cost is an amount of money.
type Cost struct {
	Currency string
	Amount   *big.Rat
}

// Forecast says what [Run] would do with the same Config, by the input and by what
// previous runs have written. It connects to nothing, looks up no secret and changes
// nothing; what Redis knows beyond Out is not considered. Of OnEvent only [Planned] is
// told.
func Forecast(ctx context.Context, cfg Config) (Estimate, error) {
	if cfg.In == nil {
		return Estimate{}, errors.New("filerun.Config: In is missing")
	}
	if err := cfg.validateInput(); err != nil {
		return Estimate{}, err
	}
	r := newRunner(cfg.withDefaults())
	var err error
	if r.plan, err = planOf(cfg.In, r.rules, cfg.First); err != nil {
		return Estimate{}, err
	}
	r.tell(Planned{Calls: r.plan.accepted, Refused: r.plan.refused, Refusals: r.plan.refusals})
	if err := checkOutput(cfg.In, cfg.Out); err != nil {
		return Estimate{}, err
	}
	unsent, err := r.forecastResults()
	if err != nil {
		return Estimate{}, err
	}
	p := r.plan
	est := Estimate{
		Calls: p.open(), Resumed: p.accepted - p.open(), Unsent: unsent,
		Refused: p.refused, Duplicates: p.duplicates, Repeats: p.repeats,
	}
	if err := r.forecastCalls(ctx, &est); err != nil {
		return Estimate{}, err
	}
	if err := est.addCosts(cfg.Worker.Upstreams); err != nil {
		return Estimate{}, err
	}
	return est, est.addTime(cfg.Worker.Upstreams, time.Now())
}

// forecastResults takes the results file of previous runs into account as a run would,
// and leaves it as it is. unsent are those of the calls that a run would not send, as
// one that died may have.
func (r *runner) forecastResults() (unsent int, err error) {
	name, input := r.cfg.Out, r.cfg.In.name
	none := func() (int, error) { return 0, r.plan.choose(r.cfg.RedoCalls, input, &resultsFile{}) }
	if name == "" {
		return none()
	}
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return none()
	case err != nil:
		return 0, inputError(ProblemOutput, "the results file: %w", err)
	case info.IsDir():
		return 0, inputError(ProblemOutput, "the results file: %s is a folder", name)
	case !info.Mode().IsRegular(): // a stream, which holds no results
		return none()
	}
	path, err := filepath.EvalSymlinks(name)
	if err != nil {
		return 0, inputError(ProblemOutput, "the results file: %w", err)
	}
	sent, err := readJournal(path, r.plan.nameOf)
	if err != nil {
		return 0, err
	}
	f, err := os.Open(path)
	if err != nil {
		return 0, inputError(ProblemOutput, "the results file: %w", err)
	}
	defer f.Close()
	out := &resultsFile{name: name, file: f}
	if err := r.plan.choose(r.cfg.RedoCalls, input, out); err != nil {
		return 0, err
	}
	if _, err := readPrevious(out, r.plan, sent, r.redo, nil); err != nil {
		return 0, err
	}
	for _, call := range sent.unfinished() {
		if r.plan.waits(call.Key, call.Digest, 0) {
			unsent++
		}
	}
	return unsent, nil
}

// forecastCalls counts the calls that have not ended by endpoint, and makes the first
// request to each upstream.
func (r *runner) forecastCalls(ctx context.Context, est *Estimate) error {
	fold, err := worker.Endpoints(r.cfg.Worker.Upstreams)
	if err != nil {
		return err
	}
	in, err := r.cfg.In.open()
	if err != nil {
		return err
	}
	upstreams := map[string]worker.Upstream{}
	for _, u := range r.cfg.Worker.Upstreams {
		upstreams[u.Name] = u
	}
	counts, seen := map[EndpointCalls]int{}, map[string]bool{}
	for line, err := range r.plan.calls(0, in, r.rules, nil) {
		if err != nil {
			return inputError(ProblemCalls, "%s: %w", r.cfg.In.name, err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		c := line.Call
		upstream, configured := upstreams[c.Upstream]
		if configured && !seen[c.Upstream] {
			seen[c.Upstream] = true
			c.Batch = r.cfg.In.batch
			request, err := worker.Preview(upstream, c)
			if err != nil {
				return fmt.Errorf("%s: %w", c.Key, err)
			}
			est.Requests = append(est.Requests, FirstRequest{Upstream: c.Upstream, Key: c.Key, Request: request})
		}
		path, err := c.URLPath()
		if err != nil {
			path = c.Path
		}
		endpoint := c.Method + " " + path
		if configured {
			endpoint = fold(c.Upstream, c.Method, path)
		}
		counts[EndpointCalls{Upstream: c.Upstream, Endpoint: endpoint}]++
	}
	est.Endpoints = slices.SortedFunc(maps.Keys(counts), func(a, b EndpointCalls) int {
		return cmp.Or(counts[b]-counts[a], cmp.Compare(a.Upstream, b.Upstream), cmp.Compare(a.Endpoint, b.Endpoint))
	})
	for i, e := range est.Endpoints {
		est.Endpoints[i].Calls = counts[e]
	}
	return nil
}

// callsTo is how many calls an upstream gets.
func (e *Estimate) callsTo(upstream string) (n int64) {
	for _, one := range e.Endpoints {
		if one.Upstream == upstream {
			n += int64(one.Calls)
		}
	}
	return n
}

// addTime finds the upstream whose calls take the longest under its limits and budgets,
// and the rule that makes it so. Upstreams share nothing, so that their calls take no
// longer together.
func (e *Estimate) addTime(upstreams []worker.Upstream, now time.Time) error {
	for _, u := range upstreams {
		calls := e.callsTo(u.Name)
		for _, rule := range u.Limits {
			plan, err := limit.NewPlan([]string{rule}, nil, u.CostPerCall)
			if err != nil {
				return err
			}
			if d := plan.Duration(calls, now); d > e.AtLeast {
				e.AtLeast, e.Upstream, e.Rule, e.Priced = d, u.Name, rule, false
			}
		}
		for _, rule := range u.Budget {
			plan, err := limit.NewPlan(nil, []string{rule}, u.CostPerCall)
			if err != nil {
				return err
			}
			if d := plan.Duration(calls, now); d > e.AtLeast {
				e.AtLeast, e.Upstream, e.Rule, e.Priced = d, u.Name, rule, plan.Money()
			}
		}
	}
	return nil
}
