package worker

import (
	"cmp"

	"github.com/seed-2903acc3/callq/tasks"
)

// CallRules returns the rules for calls to upstreams: the names that belong to the
// credential, and how large a body may be. Jobs are not allowed.
func CallRules(upstreams []Upstream) tasks.Rules {
	var rules tasks.Rules
	for _, u := range upstreams {
		r := tasks.UpstreamRules{Name: u.Name, MaxBody: u.MaxBody, IdempotencyHeader: u.IdempotencyHeader}
		if u.Policy != nil {
			r.IdempotencyHeader = cmp.Or(r.IdempotencyHeader, u.Policy.Upstream().IdempotencyHeader)
		}
		r.ReservedHeaders, r.ReservedQuery = u.Auth.Headers(), u.Auth.Parameters()
		rules.Upstreams = append(rules.Upstreams, r)
	}
	return rules
}

// Endpoints returns the function by which workers fold a call's method and path, without
// the query, into its endpoint. Calls of an unknown upstream are folded without patterns.
func Endpoints(upstreams []Upstream) (fold func(upstream, method, path string) string, err error) {
	plain, err := parsePatterns("endpoints", nil)
	if err != nil {
		return nil, err
	}
	folds := map[string]patterns{}
	for _, u := range upstreams {
		if folds[u.Name], err = parsePatterns("endpoints", u.Endpoints); err != nil {
			return nil, err
		}
	}
	return func(upstream, method, path string) string {
		if list, ok := folds[upstream]; ok {
			return list.endpoint(method, path)
		}
		return plain.endpoint(method, path)
	}, nil
}
