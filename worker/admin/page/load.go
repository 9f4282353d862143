package page

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/batchreport"
	"github.com/seed-2903acc3/callq/worker/overview"
)

const (
	// firstBatches is how many batches the overview shows, pageBatches how many one page of
	// all batches shows.
	firstBatches, pageBatches = 12, 50
	// firstGroups is how many groups of dead letters the overview shows.
	firstGroups = 8
	// examples is how many calls a page shows as examples.
	examples = 20
	// listed is how many dead letters a part of the list of all has.
	listed = 50
)

// overviewData is what the overview shows.
type overviewData struct {
	*overview.Overview
	// Cards are the APIs, Receivers those of callq's notifications.
	Cards, Receivers []card
	Chart            chart
	Recent           []overview.Batch
	More             bool // there are more batches
	// First are the largest groups of dead letters, Rest is how many more there are.
	First []overview.DeadGroup
	Rest  int
}

// card is an upstream with its chart.
type card struct {
	overview.Upstream
	Chart chart
}

// DeadCount is the number of its dead letters.
func (c card) DeadCount() (n int64) {
	for _, of := range c.Dead {
		n += of
	}
	return n
}

// Paused counts the accounts that are not flowing.
func (d overviewData) Paused() (n int) {
	for _, c := range d.Cards {
		if c.Circuit.State != overview.Flowing {
			n++
		}
	}
	return n
}

func (p *Pages) loadOverview(r *http.Request) (string, any, error) {
	now, err := p.cfg.Overview.Read(r.Context())
	if err != nil {
		return "", nil, err
	}
	recent, next, err := p.cfg.Overview.Batches(r.Context(), "", firstBatches)
	if err != nil {
		return "", nil, err
	}
	recent = slices.DeleteFunc(recent, overview.Batch.Notifications)
	d := overviewData{Overview: now, Chart: chartOfAll(now), Recent: recent, More: next != ""}
	for _, u := range busiest(now.Upstreams) {
		one := card{u, chartOf(240, 36, u.Minutes)}
		if u.Notifications() {
			d.Receivers = append(d.Receivers, one)
		} else {
			d.Cards = append(d.Cards, one)
		}
	}
	d.First = now.Groups[:min(len(now.Groups), firstGroups)]
	d.Rest = now.DeadGroups - len(d.First)
	return "Overview", d, nil
}

// batchesData is one page of all batches.
type batchesData struct {
	Batches       []overview.Batch
	Before, Older string
}

func (p *Pages) loadBatches(r *http.Request) (string, any, error) {
	d := batchesData{Before: r.URL.Query().Get("before")}
	var err error
	d.Batches, d.Older, err = p.cfg.Overview.Batches(r.Context(), d.Before, pageBatches)
	return "Batches", d, err
}

// batchData is one batch.
type batchData struct {
	overview.Batch
	// Latest are the calls that ended last.
	Latest []ending
	// Causes are why calls failed, the first ones; MoreCauses is how many more there are.
	Causes     batchreport.Causes
	MoreCauses int
}

// shownCauses is how many causes the page of a batch shows.
const shownCauses = 20

// ending is a call that has ended, for lists.
type ending struct {
	ID, Batch, Key, State, Class, Code, Message, Advice, CorrelationID string
	Status, Attempts                                                   int
	Log                                                                []attempt
	Finished                                                           when
}

func endingsOf(records []ledger.Record) (list []ending) {
	for _, r := range records {
		e := r.Ending
		one := ending{
			ID: r.ID, Batch: r.Batch, Key: r.Key, State: string(r.State), Class: e.Class, Code: e.Code, Message: firstOf(e.Message, e.UserMessage),
			Advice: e.Advice, CorrelationID: e.CorrelationID, Status: e.HTTPStatus, Attempts: e.Attempts, Finished: when(e.FinishedAt),
		}
		for _, a := range r.Log {
			one.Log = append(one.Log, attemptOf(a))
		}
		list = append(list, one)
	}
	return list
}

func firstOf(texts ...string) string {
	i := slices.IndexFunc(texts, func(s string) bool { return s != "" })
	if i < 0 {
		return ""
	}
	return texts[i]
}

func (p *Pages) loadBatch(r *http.Request) (string, any, error) {
	name := r.PathValue("name")
	b, err := p.cfg.Overview.Batch(r.Context(), name)
	if err != nil {
		return "", nil, err
	}
	d := batchData{Batch: b}
	if p.cfg.Causes != nil && b.Dead+b.Dropped > 0 {
		if d.Causes, err = p.cfg.Causes.Causes(r.Context(), name); err != nil {
			return "", nil, err
		}
		if n := len(d.Causes.List); n > shownCauses {
			d.Causes.List, d.MoreCauses = d.Causes.List[:shownCauses], n-shownCauses
		}
	}
	latest, err := p.cfg.Overview.LatestEndings(r.Context(), name, examples)
	d.Latest = endingsOf(latest)
	return "Batch " + name, d, err
}

// deadData are the groups of all dead letters.
type deadData struct {
	Groups []overview.DeadGroup
	Total  int64
	Rest   int
}

func (p *Pages) loadDead(r *http.Request) (string, any, error) {
	now, err := p.cfg.Overview.Read(r.Context())
	if err != nil {
		return "", nil, err
	}
	return "Dead letters", deadData{now.Groups, now.Dead, now.DeadGroups - len(now.Groups)}, nil
}

// groupData is one group of dead letters.
type groupData struct {
	overview.DeadGroup
	Examples []ending
	// Listed reports that Examples are a part of the list of all, the oldest first, and not
	// the latest. Next is the position of the next part; "" at the end.
	Listed bool
	Next   string
	// Redrive is the redrive that is under way or was the last one; nil if there is none.
	Redrive *progress
}

// More reports whether the group has dead letters that are not shown.
func (g groupData) More() bool { return g.Count > int64(len(g.Examples)) }

func (p *Pages) loadGroup(r *http.Request) (string, any, error) {
	name := r.PathValue("group")
	g, err := p.group(r.Context(), name)
	if err != nil {
		return "", nil, err
	}
	data := groupData{DeadGroup: g, Redrive: p.redrives.of(name), Listed: r.URL.Query().Has("after")}
	var letters []ledger.Record
	if data.Listed {
		letters, data.Next, err = p.cfg.Overview.DeadPage(r.Context(), name, r.URL.Query().Get("after"), listed)
		if errors.Is(err, tasks.ErrPosition) {
			err = missing{"The address of this page is not complete.", "Go back to the group, and follow its links."}
		}
	} else {
		letters, err = p.cfg.Overview.LatestDead(r.Context(), name, examples)
	}
	data.Examples = endingsOf(letters)
	return "Dead letters " + name, data, err
}

// group returns a group; an empty one if its last call was just redriven.
func (p *Pages) group(ctx context.Context, name string) (overview.DeadGroup, error) {
	groups, err := p.cfg.Client.DeadGroups(ctx)
	if err != nil {
		return overview.DeadGroup{}, err
	}
	i := slices.IndexFunc(groups, func(g tasks.DeadGroup) bool { return g.Name == name })
	if i < 0 {
		if p.redrives.of(name) != nil {
			return overview.DeadGroup{Name: name}, nil
		}
		return overview.DeadGroup{}, missing{"There are no dead letters of this group.", "They may have been redriven or purged."}
	}
	g := groups[i]
	one := overview.DeadGroup{
		Name: g.Name, Count: g.Count, Class: g.Class, Code: g.Code, Endpoint: g.Endpoint, Message: g.Message, Advice: g.Advice,
	}
	for _, queue := range g.Queues {
		if name := tasks.UpstreamOf(queue); !slices.Contains(one.Upstreams, name) {
			one.Upstreams = append(one.Upstreams, name)
		}
	}
	return one, nil
}

// redriveData is the dry run of a redrive.
type redriveData struct {
	overview.DeadGroup
	// Paused are the accounts that would hold the calls.
	Paused []overview.Circuit
	// Doubtful reports that the calls may have taken effect already.
	Doubtful bool
}

func (p *Pages) loadRedrive(r *http.Request) (string, any, error) {
	g, err := p.group(r.Context(), r.PathValue("group"))
	if err != nil {
		return "", nil, err
	}
	now, err := p.cfg.Overview.Read(r.Context())
	if err != nil {
		return "", nil, err
	}
	d := redriveData{DeadGroup: g, Doubtful: g.Class == doubtful}
	for _, u := range now.Upstreams {
		if u.Circuit.State == overview.Paused && slices.Contains(g.Upstreams, u.Name) {
			d.Paused = append(d.Paused, u.Circuit)
		}
	}
	return "Redrive " + g.Name, d, nil
}

// searchData are the results of a search.
type searchData struct {
	Query string
	// Found are the calls that have the text as their key, or as the correlation id of a
	// failed attempt.
	Found []tasks.CallInfo
	// Batch is the batch that the text names.
	Batch string
}

// searchBatches is how many batches, the newest, a search for a key looks into.
const searchBatches = 10_000

func (p *Pages) loadSearch(r *http.Request) (string, any, error) {
	d := searchData{Query: strings.TrimSpace(r.URL.Query().Get("q"))}
	if d.Query == "" {
		return "Search", d, nil
	}
	ctx := r.Context()
	if info, err := p.cfg.Client.Call(ctx, d.Query); err == nil {
		return "", nil, moved{"/calls/" + url.PathEscape(info.Result.ID)}
	}
	if _, err := p.cfg.Client.Batch(ctx, d.Query); err == nil {
		d.Batch = d.Query
	}
	ids, err := p.cfg.Overview.FindCalls(ctx, d.Query, examples, searchBatches)
	if err != nil {
		return "", nil, err
	}
	refused, err := p.cfg.Overview.FindCall(ctx, d.Query)
	if err != nil {
		return "", nil, err
	}
	if refused != "" && !slices.Contains(ids, refused) {
		ids = append(ids, refused)
	}
	for _, id := range ids {
		info, err := p.cfg.Client.Call(ctx, id)
		switch {
		case err == nil:
			d.Found = append(d.Found, info)
		case !isGone(err):
			return "", nil, err
		}
	}
	if len(d.Found) == 1 && d.Batch == "" {
		return "", nil, moved{"/calls/" + url.PathEscape(d.Found[0].Result.ID)}
	}
	return fmt.Sprintf("Search for %q", d.Query), d, nil
}
