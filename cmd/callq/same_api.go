package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/records"
)

// apis are the base_urls of upstreams, in one spelling, by the upstreams' names.
// What a call means includes where it goes: a result of one API, a sandbox perhaps,
// is not one of another.
type apis map[string]string

func apisOf(cfg *config.Config) apis {
	list := apis{}
	for _, u := range cfg.Upstreams {
		if u.BaseURL != "" {
			list[u.Name] = oneSpelling(u.BaseURL)
		}
	}
	return list
}

// oneSpelling writes a base_url without what makes no difference: capitals in
// scheme and host, the port that the scheme stands for, slashes at the end (RFC
// 3986, 6.2). It leaves out a user name and password, should there be any.
func oneSpelling(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return base
	}
	u.User = nil
	u.Scheme, u.Host = strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	if port := map[string]string{"http": ":80", "https": ":443"}[u.Scheme]; port != "" {
		u.Host = strings.TrimSuffix(u.Host, port)
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
	return u.String()
}

// put writes the base_url of now into a line of a results file that has another.
func (a apis) put(line []byte) []byte {
	var r tasks.Result
	if err := json.Unmarshal(line, &r); err != nil || r.BaseURL == "" {
		return line
	}
	if now := a[r.Upstream]; now != "" && oneSpelling(r.BaseURL) != now {
		return tasks.SetBaseURL(line, now)
	}
	return line
}

// madeWith is what is known of the base_urls with which something was made.
type madeWith struct {
	// what names it, as "out" or "batch b".
	what string
	apis map[string]string
}

// check refuses to go on with what was made with another base_url.
func (a apis) check(made madeWith) error {
	for _, name := range slices.Sorted(maps.Keys(made.apis)) {
		was, now := made.apis[name], a[name]
		if now == "" || oneSpelling(was) == now {
			continue
		}
		return misuse("%s was made with base_url %s of upstream %s, which is %s now: results of one API must not count for another; "+
			"set base_url back, or for the new one take a copy of the file under another name and another OUT; if both are the same API, add --same-api",
			made.what, was, name, now)
	}
	return nil
}

// checkBatch checks the batch, or remembers the base_urls of now for it where same
// says that they are the same APIs. It returns the upstreams of which the batch,
// made by an earlier version, does not say what they were.
func (a apis) checkBatch(ctx context.Context, books *ledger.Ledger, b ledger.Batch, only map[string]bool, same bool) (unknown []string, err error) {
	made, changed := madeWith{what: "batch " + b.Name, apis: map[string]string{}}, map[string]string{}
	for _, queue := range b.Queues {
		name, _, _ := strings.Cut(queue, ":")
		if a[name] == "" || only != nil && !only[name] {
			continue
		}
		was, known := b.APIs[name]
		switch {
		case !known && !slices.Contains(unknown, name):
			unknown = append(unknown, name)
		case known && oneSpelling(was) != a[name]:
			made.apis[name], changed[name] = was, a[name]
		}
	}
	if same && len(changed) > 0 {
		return unknown, books.SetAPIs(ctx, b.Name, changed)
	}
	return unknown, a.check(made)
}

// checkAPIs refuses to go on where results, what was sent, or calls of the queue
// are of another base_url.
func (s *session) checkAPIs(ctx context.Context, e *past) error {
	if !s.sameAPI {
		if err := errors.Join(s.apis.check(madeWith{s.out.name, e.madeWith(s.apis)}), s.apis.check(madeWith{s.sent.path, s.sent.madeWith(s.apis)})); err != nil {
			return err
		}
	}
	unknown := map[string]bool{}
	for name := range e.nowhere {
		unknown[name] = len(e.apis[name]) == 0
	}
	if s.desk != nil && !s.deaf {
		s.others = e.others(s.in.batch)
		err := s.eachBatch(ctx, func(i int, b ledger.Batch) error {
			names, err := s.apis.checkBatch(ctx, s.desk.ledger, b, s.plan.upstreams, s.sameAPI)
			for name := range b.APIs {
				delete(unknown, name)
			}
			for _, name := range names {
				unknown[name] = len(e.apis[name]) == 0
			}
			if err != nil && e.results == 0 {
				return errors.Join(err, s.restore(ctx, i, b))
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(unknown)) {
		if unknown[name] && s.apis[name] != "" {
			s.progress.say("%s", unrecorded(s.in.name, name, s.apis[name]))
		}
	}
	return nil
}

// restore writes into an OUT that has no results those that the queue has of the
// base_url of then: they are finished, and the queue forgets them one day.
func (s *session) restore(ctx context.Context, i int, b ledger.Batch) error {
	if s.out.file == nil {
		return nil
	}
	n := 0
	for r, err := range s.desk.ledger.Endings(ctx, b.Name, &ledger.Cursor{}) {
		if err != nil {
			return errors.Join(err, s.out.sync())
		}
		if !s.plan.end(r.Key, r.Hash, r.ID, i, tasks.State(r.State)) {
			continue
		}
		result := records.Result(r)
		result.BaseURL, result.Line = b.APIs[result.Upstream], s.plan.line(r.Key, r.Hash)
		if err := s.out.add(result); err != nil {
			return err
		}
		n++
	}
	if n > 0 {
		s.progress.say("%s of then known to the queue; %s written to %s", verbalOf(n, "result", "was", "were"), map[bool]string{true: "it is", false: "they are"}[n == 1], s.out.name)
	}
	return s.out.sync()
}

// checkAPIs refuses to add to a batch that was made with another base_url.
func (s *sending) checkAPIs(ctx context.Context, d *desk, batch string) error {
	b, err := d.ledger.Batch(ctx, batch)
	if errors.Is(err, ledger.ErrNoBatch) {
		return nil
	}
	if err != nil {
		return err
	}
	now := apisOf(d.cfg)
	unknown, err := now.checkBatch(ctx, d.ledger, b, nil, s.sameAPI)
	for _, name := range unknown {
		s.progressf("%s", unrecorded("batch "+printable(batch), name, now[name]))
	}
	return err
}

// unrecorded says that an earlier version did not write down which API was called.
func unrecorded(what, upstream, base string) string {
	return fmt.Sprintf("%s: an earlier version of callq made results that do not say with which base_url of upstream %s; they are taken for those of %s", what, upstream, base)
}

// madeWith are those base_urls of the results that differ from the ones of now.
func (e *earlier) madeWith(now apis) map[string]string {
	made := map[string]string{}
	for name, bases := range e.apis {
		for base := range bases {
			if now[name] != "" && oneSpelling(base) != now[name] && (made[name] == "" || base < made[name]) {
				made[name] = base
			}
		}
	}
	return made
}
