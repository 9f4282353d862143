// Package baseurl compares the base URLs to which calls are sent now with those that are
// recorded in results, batches and journals. The base URL is a part of what a call means:
// a result of one API, for example a sandbox, is not a result of another. The package may
// change in any version.
//
//	now := baseurl.Set{"sim": baseurl.Canonical("https://API.example.com:443/")}
//	err := now.Check("out.jsonl", map[string]string{"sim": "https://sandbox.example.com"})
//	// err is a *baseurl.ChangedError
//
// It must not depend on the code that sends the calls.
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

// Canonical normalizes a base URL (RFC 3986, 6.2): scheme and host in lower case, no
// default port, no slashes at the end. It also removes a user name and password.
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

// ChangedError reports that something was made with another base URL than the current one.
type ChangedError struct {
	What     string // what was made, such as "out.jsonl" or "batch b"
	Upstream string
	Was, Now string
}

// Error says what was made with which base URL, and what the current one is.
func (e *ChangedError) Error() string {
	return fmt.Sprintf("%s was made with base_url %s of upstream %s, which is %s now: results of one API must not count for another",
		e.What, e.Was, e.Upstream, e.Now)
}

// Differ reports whether a base URL of an upstream is not the current one. It returns
// false for an upstream that is not in the set.
func (s Set) Differ(upstream, base string) bool {
	now := s[upstream]
	return now != "" && Canonical(base) != now
}

// Check returns a [ChangedError] for the first upstream, in alphabetical order, whose base
// URL has changed since something was made; made has the base URLs of that time by
// upstream.
func (s Set) Check(what string, made map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(made)) {
		if s.Differ(name, made[name]) {
			return &ChangedError{What: what, Upstream: name, Was: made[name], Now: s[name]}
		}
	}
	return nil
}

// CheckBatch checks a batch. If same is set, the old and the new base URLs mean the same
// APIs, and CheckBatch records the current ones for the batch instead of returning an
// error. If only is not nil, it limits the check to these upstreams. unknown are the
// upstreams without a recorded base URL, in a batch of an earlier version.
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

// Rewrite replaces the base URL in a line of a results file by the current one.
func (s Set) Rewrite(line []byte) []byte {
	var r tasks.Result
	if err := json.Unmarshal(line, &r); err != nil || r.BaseURL == "" || !s.Differ(r.Upstream, r.BaseURL) {
		return line
	}
	return tasks.SetBaseURL(line, s[r.Upstream])
}
