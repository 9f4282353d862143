// Package baseurl compares the base URLs that calls are sent to now with those that
// results, batches and journals remember. What a call means includes where it goes: a
// result of one API, a sandbox perhaps, is not one of another. It may change in any
// version.
//
//	now := baseurl.Set{"sim": baseurl.Canonical("https://API.example.com:443/")}
//	err := now.Check("out.jsonl", map[string]string{"sim": "https://sandbox.example.com"})
//	// err is a *baseurl.ChangedError
//
// It must not know who sends the calls.
package baseurl

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// Set are the base URLs of upstreams, as [Canonical] writes them, by the upstreams'
// names.
type Set map[string]string

// Canonical writes a base URL without what makes no difference: capitals in scheme and
// host, the port that the scheme stands for, slashes at the end (RFC 3986, 6.2). It
// leaves out a user name and password, should there be any.
func Canonical(base string) string {
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

// ChangedError says that something was made with another base URL than that of now.
type ChangedError struct {
	What     string // what was made, as "out.jsonl" or "batch b"
	Upstream string
	Was, Now string
}

// Error says what was made with which base URL.
func (e *ChangedError) Error() string {
	return fmt.Sprintf("%s was made with base_url %s of upstream %s, which is %s now: results of one API must not count for another",
		e.What, e.Was, e.Upstream, e.Now)
}

// Differ reports whether a base URL of an upstream is another one than that of now. One
// of an upstream that the set does not have is not.
func (s Set) Differ(upstream, base string) bool {
	now := s[upstream]
	return now != "" && Canonical(base) != now
}

// Check returns a [ChangedError] for the first upstream, in order, with which something
// was made under another base URL; made are the base URLs by upstream.
func (s Set) Check(what string, made map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(made)) {
		if s.Differ(name, made[name]) {
			return &ChangedError{What: what, Upstream: name, Was: made[name], Now: s[name]}
		}
	}
	return nil
}

// CheckBatch checks a batch, or remembers the base URLs of now for it where same says
// that they are the same APIs. Only the upstreams of only count, unless it is nil. It
// returns the upstreams of which the batch, made by an earlier version, does not say
// what they were.
func (s Set) CheckBatch(ctx context.Context, l *ledger.Ledger, b ledger.Batch, only map[string]bool, same bool) (unknown []string, err error) {
	changed := map[string]string{}
	for _, queue := range b.Queues {
		name, _, _ := strings.Cut(queue, ":")
		if s[name] == "" || only != nil && !only[name] {
			continue
		}
		was, known := b.APIs[name]
		switch {
		case !known && !slices.Contains(unknown, name):
			unknown = append(unknown, name)
		case known && s.Differ(name, was):
			changed[name] = was
		}
	}
	if !same || len(changed) == 0 {
		return unknown, s.Check("batch "+b.Name, changed)
	}
	for name := range changed {
		changed[name] = s[name]
	}
	return unknown, l.SetAPIs(ctx, b.Name, changed)
}

// Rewrite writes the base URL of now into a line of a results file that has another.
func (s Set) Rewrite(line []byte) []byte {
	var r tasks.Result
	if err := json.Unmarshal(line, &r); err != nil || r.BaseURL == "" || !s.Differ(r.Upstream, r.BaseURL) {
		return line
	}
	return tasks.SetBaseURL(line, s[r.Upstream])
}
