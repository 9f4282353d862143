package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/policy/yamlfile"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/baseurl"
	"github.com/seed-2903acc3/callq/worker/limit"
	"github.com/seed-2903acc3/callq/worker/notify"
	"github.com/seed-2903acc3/callq/worker/overview"
	"github.com/seed-2903acc3/callq/worker/upstream"
)

// requestsOf returns the upstreams without policies and limits: only what decides how
// requests look and which calls are accepted.
func requestsOf(cfg *config.Config) (list []worker.Upstream) {
	for _, u := range cfg.Upstreams {
		list = append(list, upstreamOf(u))
	}
	return list
}

// upstreamsOf returns the upstreams for a worker. It loads the policies, and turns references
// to credentials into secrets that are read when they are used.
func upstreamsOf(cfg *config.Config) ([]worker.Upstream, error) {
	if len(cfg.Upstreams) == 0 {
		return nil, usageError("no upstream is configured: write the API's base_url, policy and auth into %s (callq help run shows how)", cfg.Path)
	}
	list, err := describedUpstreams(cfg)
	if err := errors.Join(cfg.ResolveUpstreams(), err); err != nil {
		return nil, err
	}
	return list, nil
}

// describedUpstreams is upstreamsOf for commands that make no calls: it resolves no
// references, and accepts a configuration without upstreams.
func describedUpstreams(cfg *config.Config) ([]worker.Upstream, error) {
	policies, err := policiesOf(cfg)
	if err != nil {
		return nil, err
	}
	var list []worker.Upstream
	for i, u := range cfg.Upstreams {
		w := upstreamOf(u)
		w.Policy = policies[i]
		for _, l := range u.Limits {
			w.Limits = append(w.Limits, l.Text)
		}
		for _, b := range u.Budget {
			w.Budget = append(w.Budget, b.Text)
		}
		if u.Cost != nil {
			w.CostHeader, w.CostPerCall = u.Cost.Header, limit.FormatMicros(u.Cost.PerCallMicros)
		}
		list = append(list, w)
	}
	return list, nil
}

// overview returns the reader of the state of the whole queue.
func (d *backend) overview() (*overview.Reader, error) {
	upstreams, err := describedUpstreams(d.cfg)
	if err != nil {
		return nil, err
	}
	cfg := overview.Config{Redis: d.conn.Client, MaxMemory: d.cfg.Ledger.MaxMemory}
	for _, r := range d.cfg.Notify {
		upstreams = append(upstreams, worker.Upstream{Name: notify.UpstreamOf(r.Name), Concurrency: 1})
	}
	for _, u := range upstreams {
		cfg.Upstreams = append(cfg.Upstreams, overview.ConfiguredUpstream{
			Name: u.Name, Concurrency: u.Concurrency, Limits: u.Limits, Budget: u.Budget, CostPerCall: u.CostPerCall, Policy: u.Policy,
		})
	}
	return overview.NewReader(cfg)
}

// upstreamOf returns the part of an upstream that decides how its requests look.
func upstreamOf(u *config.Upstream) worker.Upstream {
	return worker.Upstream{
		Name: u.Name, BaseURL: u.BaseURL, Auth: authOf(u.Auth), Timeout: u.Timeout, Concurrency: u.Concurrency,
		Endpoints: u.Endpoints, Idempotent: u.Idempotent, IdempotencyHeader: u.IdempotencyHeader, MaxBody: u.MaxBody,
		Headers: u.Headers, Query: u.Query, KeepHeaders: u.KeepHeaders, Verify: u.Verify,
		TLS: worker.TLS{CA: u.TLS.CA, Cert: u.TLS.Cert, Key: u.TLS.Key},
	}
}

// webhooksOf returns the receivers of events for a worker.
func webhooksOf(cfg *config.Config) ([]worker.Webhook, error) {
	if err := cfg.ResolveNotify(); err != nil {
		return nil, err
	}
	var list []worker.Webhook
	for _, r := range cfg.Notify {
		h := worker.Webhook{Name: r.Name, URL: secretOf(r.URL), Secret: secretOf(r.Secret), Slack: r.Format == notify.FormatSlack}
		for _, t := range r.Events {
			h.Events = append(h.Events, worker.EventType(t))
		}
		list = append(list, h)
	}
	return list, nil
}

// policiesOf loads the policies of the upstreams, in their order. Every error has
// a position.
func policiesOf(cfg *config.Config) ([]*policy.Policy, error) {
	var list []*policy.Policy
	var errs []error
	for _, u := range cfg.Upstreams {
		p, err := loadPolicy(u)
		list, errs = append(list, p), append(errs, err)
	}
	return list, errors.Join(errs...)
}

func loadPolicy(u *config.Upstream) (*policy.Policy, error) {
	load := policy.Preset
	name := u.Policy
	if u.PolicyPath != "" {
		load, name = policy.LoadFile, u.PolicyPath
	}
	p, err := load(name)
	var inside *yamlfile.Error
	if err != nil && !errors.As(err, &inside) {
		// The errors of package policy begin with its name, which is also the key.
		return nil, u.PolicyPos.Errorf("policy: %s", strings.TrimPrefix(err.Error(), "policy: "))
	}
	return p, err
}

func authOf(a config.Auth) worker.Auth {
	switch a.Type {
	case config.AuthBearer:
		return worker.Bearer(secretOf(a.Token))
	case config.AuthBasic:
		return worker.Basic(secretOf(a.Username), secretOf(a.Password))
	case config.AuthHeader:
		return worker.Header(a.Name, secretOf(a.Value))
	case config.AuthQuery:
		return worker.Query(a.Name, secretOf(a.Value))
	case config.AuthOAuth2:
		o := a.OAuth2
		query := map[string]worker.Secret{}
		for _, q := range o.Query {
			query[q.Name] = secretOf(q.Value)
		}
		return worker.OAuth2(worker.OAuth2Config{
			TokenURL: o.TokenURL, ClientID: secretOf(o.ClientID), ClientSecret: secretOf(o.ClientSecret),
			Scopes: o.Scopes, Style: o.Style, TokenField: o.TokenField, Query: query,
		})
	default:
		return worker.Auth{}
	}
}

func secretOf(s config.Secret) worker.Secret {
	if s.IsZero() {
		return worker.Secret{}
	}
	var parts []upstream.Secret
	s.Parts(
		func(text string) { parts = append(parts, upstream.StaticSecret(text)) },
		func(name string) { parts = append(parts, upstream.EnvSecret(name)) },
		func(path string) { parts = append(parts, upstream.FileSecret(path)) },
	)
	if len(parts) == 1 {
		return parts[0]
	}
	return upstream.ConcatSecrets(parts...)
}

// rulesOf returns the rules for calls that are sent.
func rulesOf(upstreams []worker.Upstream) tasks.Rules {
	rules := worker.CallRules(upstreams)
	rules.AllowJobs = true
	return rules
}

// baseURLsOf returns the base URLs of the upstreams.
func baseURLsOf(cfg *config.Config) baseurl.Set {
	set := baseurl.Set{}
	for _, u := range cfg.Upstreams {
		if u.BaseURL != "" {
			set[u.Name] = baseurl.Canonical(u.BaseURL)
		}
	}
	return set
}

// whoami returns the user and the machine, for the records of operators' actions.
func whoami() string {
	name := "operator"
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name = fmt.Sprintf("%s@%s", name, host)
	}
	return name
}
