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

// Estimate describes what a run would do.
type Estimate struct {
	// Calls is the number of open calls, Resumed of calls with a result. Unsent of the
	// Calls would end as outcome_unknown without being sent, because a run that was
	// killed may have sent them.
	Calls, Resumed, Unsent int
	// Refused is the number of lines that are not calls, Duplicates of lines with the same
	// call as an earlier line. Repeats are the first of those lines.
	Refused, Duplicates int
	Repeats             []Repeat
	// Endpoints are the endpoints of the Calls, the most frequent first.
	Endpoints []EndpointCalls
	// Requests are the first request to each upstream, with stars for the credential.
	Requests []FirstRequest
	// Costs are the costs of the calls by CostPerCall, for each currency. The currency is
	// empty if no budget names one. Unpriced are the upstreams without a known price.
	// Both are empty if no upstream has a cost.
	Costs    []Cost
	Unpriced []string
	// AtLeast is the minimum duration of the calls under the limits and budgets, if they
	// start now and no limit is partly used; 0 if there is no limit. Rule of Upstream
	// causes it; Priced reports that the rule is a budget of money.
	AtLeast        time.Duration
	Upstream, Rule string
	Priced         bool
}

// EndpointCalls is the number of calls to an endpoint.
type EndpointCalls struct {
	Upstream, Endpoint string
	Calls              int
}

// FirstRequest is the first request to an upstream as it would be sent.
type FirstRequest struct {
	Upstream, Key string
	Request       *http.Request
}

// Cost is an amount of money.
type Cost struct {
	Currency string
	Amount   *big.Rat
}

// Forecast estimates what [Run] would do with the same Config, from the input and the
// files of previous runs. It opens no connection, reads no secret and changes nothing. It
// does not consider results that only Redis has. The only event is [Planned].
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
	r.emit(Planned{Calls: r.plan.accepted, Refused: r.plan.refused, Refusals: r.plan.refusals})
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

// forecastResults reads the results file of previous runs as a run would, and does not
// change it. unsent is the number of open calls that a run would not send, because a run
// that was killed may have sent them.
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
	case !info.Mode().IsRegular(): // a stream, which has no previous results
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
		if r.plan.isOpenIn(call.Key, call.Digest, 0) {
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

// callsTo returns the number of calls to an upstream.
func (e *Estimate) callsTo(upstream string) (n int64) {
	for _, one := range e.Endpoints {
		if one.Upstream == upstream {
			n += int64(one.Calls)
		}
	}
	return n
}

// addTime finds the upstream whose calls take the longest under its limits and budgets,
// and the rule that causes it. Upstreams are independent, so all calls together take no
// longer.
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
