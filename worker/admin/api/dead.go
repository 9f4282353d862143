package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/admin/access"
	"github.com/seed-2903acc3/callq/worker/admin/problem"
	"github.com/seed-2903acc3/callq/worker/deadletters"
	"github.com/seed-2903acc3/callq/worker/jsonform"
)

const (
	// redriveTimeout is how long one request redrives. Another one continues.
	redriveTimeout = 50 * time.Second
	// maxRedriveErrors is how many refused calls an answer has.
	maxRedriveErrors = 1000
)

type groupsAnswer struct {
	Body []jsonform.DeadGroup `nullable:"false"`
}

// deadGroups returns the groups of all dead letters.
func (a *API) deadGroups(ctx context.Context, _ *struct{}) (*groupsAnswer, error) {
	found, err := a.cfg.Client.DeadGroups(ctx)
	if err != nil {
		return nil, err
	}
	return &groupsAnswer{groupsOf(found)}, nil
}

func groupsOf(found []tasks.DeadGroup) []jsonform.DeadGroup {
	groups := make([]jsonform.DeadGroup, len(found))
	for i, g := range found {
		groups[i] = jsonform.DeadGroupOf(g)
	}
	return groups
}

type deadRequest struct {
	Paging
	Group    string `query:"group" doc:"Only those of a group of GET /v1/dead/groups."`
	Batch    string `query:"batch" doc:"Only those of a batch."`
	Upstream string `query:"upstream" doc:"Only those of an upstream."`
	Class    string `query:"class" doc:"Only those of a class." example:"quota"`
	Code     string `query:"code" doc:"Only those with an error code of the API; none for those without one." example:"67200005"`
	Endpoint string `query:"endpoint" doc:"Only those of an endpoint." example:"GET /search/*"`
	Status   string `query:"status" doc:"Only those with an HTTP status; none for those without an answer."`
}

// fields are the values that dead letters must have, by the name of the field.
func (r *deadRequest) fields() map[string]string {
	return present(map[string]string{
		"batch": r.Batch, "upstream": r.Upstream, "class": r.Class, "code": r.Code, "endpoint": r.Endpoint, "status": r.Status,
	})
}

// present leaves out the empty values.
func present(fields map[string]string) map[string]string {
	for key, value := range fields {
		if value == "" {
			delete(fields, key)
		}
	}
	return fields
}

type deadAnswer struct {
	Link string            `header:"Link"`
	Body []json.RawMessage `nullable:"false"`
}

// dead returns dead letters, by queue, the oldest first.
func (a *API) dead(ctx context.Context, in *deadRequest) (*deadAnswer, error) {
	fields := in.fields()
	letters, next, err := tasks.DeadPage(ctx, a.cfg.Client, tasks.DeadFilter{Group: in.Group, Match: deadletters.Filter(fields).Match}, in.After, in.Limit)
	if errors.Is(err, tasks.ErrPosition) {
		return nil, problem.New(http.StatusUnprocessableEntity, "after is not a position in this list; take it from the Link header of the answer before, or begin without it")
	}
	if err != nil {
		return nil, err
	}
	query := url.Values{}
	if in.Group != "" {
		query.Set("group", in.Group)
	}
	for key, value := range fields {
		query.Set(key, value)
	}
	out := &deadAnswer{Link: in.next("/v1/dead", query, next), Body: []json.RawMessage{}}
	for _, c := range letters {
		form, err := jsonform.Letter(c)
		if err != nil {
			return nil, fmt.Errorf("call %s: %w", c.Result.ID, err)
		}
		out.Body = append(out.Body, form)
	}
	return out, nil
}

// RedriveRequest selects dead letters by exactly one of ids, group, filter and all.
type RedriveRequest struct {
	IDs    []string       `json:"ids,omitempty" minItems:"1" maxItems:"10000" nullable:"false" doc:"The ids of calls, which may also be dropped or cancelled."`
	Group  string         `json:"group,omitempty" doc:"The name of a group of GET /v1/dead/groups."`
	Filter *RedriveFilter `json:"filter,omitempty" doc:"Dead letters that have all of these values."`
	All    bool           `json:"all,omitempty" doc:"All dead letters."`
	Before *time.Time     `json:"before,omitempty" doc:"Only calls that died before this time: that of the first answer, so that a call that dies again is not redriven again."`
	DryRun bool           `json:"dry_run,omitempty" doc:"Count and group what would be redriven, and change nothing."`
	Rate   string         `json:"rate,omitempty" default:"50/s" doc:"At most N/s, N/m or N/h." example:"50/s"`
}

// RedriveFilter has the values that dead letters must have.
type RedriveFilter struct {
	Batch    string `json:"batch,omitempty"`
	Key      string `json:"key,omitempty"`
	Upstream string `json:"upstream,omitempty"`
	Class    string `json:"class,omitempty"`
	Rule     string `json:"rule,omitempty"`
	Endpoint string `json:"endpoint,omitempty"`
	Code     text   `json:"code,omitempty"`
	Status   text   `json:"status,omitempty"`
}

func (f *RedriveFilter) fields() deadletters.Filter {
	return present(map[string]string{
		"batch": f.Batch, "key": f.Key, "upstream": f.Upstream, "class": f.Class, "rule": f.Rule, "endpoint": f.Endpoint,
		"code": string(f.Code), "status": string(f.Status),
	})
}

// text is a string that may also be written as a number.
type text string

// UnmarshalJSON implements [json.Unmarshaler].
func (t *text) UnmarshalJSON(data []byte) error {
	var s string
	if json.Unmarshal(data, &s) == nil {
		*t = text(s)
		return nil
	}
	*t = text(data)
	return nil
}

// Schema implements [huma.SchemaProvider].
func (text) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Description: "A string or a number; none for an absent value.", AnyOf: []*huma.Schema{{Type: huma.TypeString}, {Type: huma.TypeNumber}}}
}

// selection returns the filter of a request and the time between two calls.
func (r *RedriveRequest) selection() (filter tasks.DeadFilter, every time.Duration, err error) {
	chosen := 0
	for _, one := range []bool{len(r.IDs) > 0, r.Group != "", r.Filter != nil, r.All} {
		if one {
			chosen++
		}
	}
	if chosen != 1 {
		return filter, 0, problem.New(http.StatusUnprocessableEntity, "give exactly one of ids, group, filter and all")
	}
	if every, err = deadletters.ParseRate(r.Rate); err != nil {
		return filter, 0, problem.New(http.StatusUnprocessableEntity, fmt.Sprintf("rate %q: %v", r.Rate, err))
	}
	var fields deadletters.Filter
	if r.Filter != nil {
		if fields = r.Filter.fields(); len(fields) == 0 {
			return filter, 0, problem.New(http.StatusUnprocessableEntity, "filter is empty; write all: true to select all dead letters")
		}
	}
	match := func(c tasks.CallInfo) bool {
		return fields.Match(c) && (r.Before == nil || c.Result.FinishedAt.Before(*r.Before))
	}
	return tasks.DeadFilter{IDs: r.IDs, Group: r.Group, Match: match}, every, nil
}

// Redriven is what became of the selected dead letters.
type Redriven struct {
	Selected int              `json:"selected" doc:"How many were selected."`
	Redriven int              `json:"redriven" doc:"How many of these wait in their queues now."`
	MovedOn  int              `json:"moved_on" doc:"How many had changed meanwhile."`
	Failed   int              `json:"failed" doc:"How many could not be redriven."`
	Errors   []RedriveRefusal `json:"errors" nullable:"false" doc:"The first 1,000 of these, and why."`
	More     bool             `json:"more" doc:"The time of one request was over before all were redriven: send the request again, with before, for the rest."`
	Before   time.Time        `json:"before" doc:"When the selection was made: the value for before in the following requests."`
}

// RedriveRefusal is why a call was not redriven.
type RedriveRefusal struct {
	ID    string `json:"id"`
	Error string `json:"error"`
}

// RedrivePlan is what would be redriven.
type RedrivePlan struct {
	DryRun   bool                 `json:"dry_run" doc:"True: nothing was changed."`
	Selected int                  `json:"selected" doc:"How many would be redriven."`
	Groups   []jsonform.DeadGroup `json:"groups" nullable:"false" doc:"By their causes, the largest group first."`
	More     bool                 `json:"more" doc:"The time of one request was over before all were counted."`
}

type redriveInput struct {
	Patient
	Body RedriveRequest
}

type redriveAnswer struct{ Body any }

// redrive opens dead letters again.
func (a *API) redrive(ctx context.Context, in *redriveInput) (*redriveAnswer, error) {
	filter, every, err := in.Body.selection()
	if err != nil {
		return nil, err
	}
	now, err := a.cfg.Redis.Time(ctx).Result()
	if err != nil {
		return nil, err
	}
	if in.Body.Before != nil {
		now = *in.Body.Before
	}
	if filter.Until, err = a.cfg.Client.DeadWatermark(ctx); err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, redriveTimeout)
	defer cancel()
	if in.Body.DryRun {
		plan, err := a.plan(limited, filter)
		return &redriveAnswer{plan}, err
	}
	out := Redriven{Errors: []RedriveRefusal{}, Before: now.UTC()}
	changed, err := a.cfg.Client.RedriveAll(limited, filter, tasks.Pace{Every: every, OnCall: func(id string, err error) {
		if err != nil && !errors.Is(err, tasks.ErrChanged) && len(out.Errors) < maxRedriveErrors {
			out.Errors = append(out.Errors, RedriveRefusal{id, a.redriveRefusal(err)})
		}
	}})
	out.Selected, out.Redriven, out.MovedOn, out.Failed = changed.Selected, changed.Applied, changed.Moved, changed.Failed
	a.log.Info("dead letters were redriven", "who", access.Who(ctx), "selected", out.Selected, "redriven", out.Redriven, "failed", out.Failed)
	if out.More = limited.Err() != nil && ctx.Err() == nil; err != nil && !out.More {
		return nil, err
	}
	return &redriveAnswer{out}, nil
}

// plan counts what would be redriven.
func (a *API) plan(ctx context.Context, filter tasks.DeadFilter) (RedrivePlan, error) {
	var tally deadletters.Tally
	plan := RedrivePlan{DryRun: true}
	for c, err := range a.cfg.Client.DeadLetters(ctx, filter) {
		if ctx.Err() != nil {
			plan.More = true
			break
		}
		if err != nil && !errors.Is(err, tasks.ErrNoCall) {
			return plan, err
		}
		if err == nil && c.CanRedrive() == nil {
			tally.Add(c)
		}
	}
	plan.Selected, plan.Groups = tally.Total, groupsOf(tally.Groups())
	return plan, nil
}

// redriveRefusal returns why a call was not redriven.
func (a *API) redriveRefusal(err error) string {
	switch {
	case errors.Is(err, tasks.ErrNoCall):
		return "there is no call with this id, or its retention is over"
	case errors.Is(err, tasks.ErrPurged):
		return "the call was purged; send it again from its source"
	case errors.Is(err, tasks.ErrOpen):
		return "the call is open already"
	case errors.Is(err, tasks.ErrDone):
		return "the call is done and cannot be redriven"
	case errors.Is(err, tasks.ErrBusy):
		return "a worker still holds its task; try again"
	case errors.Is(err, tasks.ErrMalformed), errors.Is(err, tasks.ErrNewerVersion):
		return "the stored call cannot be read by this version of callq; send it again from its source"
	}
	return "the call cannot be redriven"
}
