package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/admin/access"
	"github.com/seed-2903acc3/callq/worker/admin/problem"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/jsonform"
)

// maxHold is the longest hold. A longer one is probably a mistake.
const maxHold = 366 * 24 * time.Hour

type circuitsAnswer struct {
	Body []jsonform.Circuit `nullable:"false"`
}

// circuits returns all circuits.
func (a *API) circuits(ctx context.Context, _ *struct{}) (*circuitsAnswer, error) {
	upstreams, err := a.upstreams(ctx)
	if err != nil {
		return nil, err
	}
	records, err := a.cfg.Circuits.List(ctx, upstreams)
	if err != nil {
		return nil, err
	}
	now, err := a.cfg.Redis.Time(ctx).Result()
	if err != nil {
		return nil, err
	}
	out := &circuitsAnswer{Body: []jsonform.Circuit{}}
	for _, r := range records {
		out.Body = append(out.Body, jsonform.CircuitOf(r, now))
	}
	return out, nil
}

// upstreams returns the names of the configured upstreams and of those that have a queue,
// sorted.
func (a *API) upstreams(ctx context.Context) ([]string, error) {
	queues, err := a.cfg.Ledger.Queues(ctx)
	if err != nil {
		return nil, err
	}
	names := slices.Clone(a.cfg.Upstreams)
	for _, queue := range queues {
		names = append(names, tasks.UpstreamOf(queue))
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// CircuitName is the name of a circuit in a path.
type CircuitName struct {
	Name string `path:"name" doc:"An upstream, or NAME~METHOD~/path for an endpoint, with each / as %2F." example:"patsnap~GET~%2Fsearch%2F*"`
}

// OpenCircuit says for how long a circuit is to be open, and why.
type OpenCircuit struct {
	For    string     `json:"for,omitempty" doc:"For how long, as in 90m or 12h. Give either this or until." example:"2h"`
	Until  *time.Time `json:"until,omitempty" doc:"Until when."`
	Reason string     `json:"reason" minLength:"1" maxLength:"1000" doc:"Why. It is recorded and shown to others." example:"invoice unpaid"`
}

// CloseCircuit says why a circuit is closed.
type CloseCircuit struct {
	Reason string `json:"reason" minLength:"1" maxLength:"1000" doc:"Why. It is recorded and shown to others." example:"invoice paid"`
}

type openInput struct {
	Patient
	CircuitName
	Body OpenCircuit
}

type closeInput struct {
	Patient
	CircuitName
	Body CloseCircuit
}

type circuitAnswer struct{ Body jsonform.Circuit }

// openCircuit holds an account, or one endpoint, for a time.
func (a *API) openCircuit(ctx context.Context, in *openInput) (*circuitAnswer, error) {
	name, err := a.circuitOf(ctx, in.Name, in.Body.Reason)
	if err != nil {
		return nil, err
	}
	// The hold ends by Redis's clock.
	now, err := a.cfg.Redis.Time(ctx).Result()
	if err != nil {
		return nil, err
	}
	hold, err := in.Body.hold(now)
	if err != nil {
		return nil, err
	}
	if err := a.cfg.Circuits.Open(ctx, name, hold, in.Body.Reason, access.Who(ctx)); err != nil {
		return nil, err
	}
	a.log.Info("a circuit was opened", "who", access.Who(ctx), "circuit", name.String(), "for", hold.Round(time.Second), "reason", in.Body.Reason)
	return a.circuit(ctx, name)
}

// hold returns how long the circuit is to be open.
func (o *OpenCircuit) hold(now time.Time) (time.Duration, error) {
	if (o.For == "") == (o.Until == nil) {
		return 0, problem.New(http.StatusUnprocessableEntity, `give either for, as in "2h", or until, as in "2026-05-01T08:00:00Z"`)
	}
	if o.Until != nil {
		if hold := o.Until.Sub(now); hold > 0 && hold <= maxHold {
			return hold, nil
		}
		return 0, problem.New(http.StatusUnprocessableEntity, "until must be in the future, within a year")
	}
	hold, err := time.ParseDuration(o.For)
	if err != nil || hold <= 0 || hold > maxHold {
		return 0, problem.New(http.StatusUnprocessableEntity, fmt.Sprintf("for %q: write a time between 1s and a year, as in 90m or 12h", o.For))
	}
	return hold, nil
}

// closeCircuit lets the calls of an account, or of one endpoint, start again at once.
func (a *API) closeCircuit(ctx context.Context, in *closeInput) (*circuitAnswer, error) {
	name, err := a.circuitOf(ctx, in.Name, in.Body.Reason)
	if err != nil {
		return nil, err
	}
	if err := a.cfg.Circuits.Close(ctx, name, in.Body.Reason, access.Who(ctx)); err != nil {
		return nil, err
	}
	a.log.Info("a circuit was closed", "who", access.Who(ctx), "circuit", name.String(), "reason", in.Body.Reason)
	return a.circuit(ctx, name)
}

// circuitOf reads the name of a circuit that is to be changed, and checks that its upstream
// exists.
func (a *API) circuitOf(ctx context.Context, text, reason string) (circuit.Name, error) {
	name, err := circuit.ParseName(text)
	if err != nil {
		return name, problem.New(http.StatusUnprocessableEntity, err.Error()+", with each / as %2F")
	}
	if strings.TrimSpace(reason) == "" {
		return name, problem.New(http.StatusUnprocessableEntity, "reason is empty; write why, it is recorded and shown to others")
	}
	upstreams, err := a.upstreams(ctx)
	if err == nil && !slices.Contains(upstreams, name.Upstream) {
		err = problem.New(http.StatusNotFound, fmt.Sprintf("there is no upstream %q; GET /v1/circuits lists the circuits", name.Upstream))
	}
	return name, err
}

func (a *API) circuit(ctx context.Context, name circuit.Name) (*circuitAnswer, error) {
	r, err := a.cfg.Circuits.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	now, err := a.cfg.Redis.Time(ctx).Result()
	if err != nil {
		return nil, err
	}
	return &circuitAnswer{jsonform.CircuitOf(r, now)}, nil
}

// anyCircuit serves the paths in which the name of a circuit is not encoded: many clients
// leave / as it is.
func (a *API) anyCircuit(w http.ResponseWriter, r *http.Request) {
	for _, verb := range []string{"/open", "/close"} {
		name, ok := strings.CutSuffix(r.PathValue("rest"), verb)
		if !ok {
			continue
		}
		for _, row := range a.routes.rows {
			if row.Pattern == "/v1/circuits/{name}"+verb {
				r.SetPathValue("name", name)
				row.Handler.ServeHTTP(w, r)
				return
			}
		}
	}
	problem.Write(w, problem.New(http.StatusNotFound, "there is no such route; write POST /v1/circuits/NAME/open or /close"))
}
