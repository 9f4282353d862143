package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/seed-2903acc3/callq/internal/httpsyntax"
	"github.com/seed-2903acc3/callq/policy"
)

// credential is what is added to one request.
type credential struct {
	// generation rises with every new credential; the first is 1.
	generation uint64
	header     string
	value      string
	query      []param
}

type param struct{ name, value string }

func (c credential) same(d credential) bool {
	return c.header == d.header && c.value == d.value && slices.Equal(c.query, d.query)
}

// apply puts the credential on a request, in place of what may be there.
func (c credential) apply(h http.Header, u *url.URL) {
	if c.header != "" {
		h.Set(c.header, c.value)
	}
	for _, p := range c.query {
		u.RawQuery = setParam(u.RawQuery, p)
	}
}

// setParam sets one parameter and leaves the rest of the query as it is spelt.
func setParam(raw string, p param) string {
	var kept []string
	for pair := range strings.SplitSeq(raw, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if plain, err := url.QueryUnescape(name); pair == "" || err == nil && plain == p.name {
			continue
		}
		kept = append(kept, pair)
	}
	kept = append(kept, url.QueryEscape(p.name)+"="+url.QueryEscape(p.value))
	return strings.Join(kept, "&")
}

// authorizer finds the credential of an upstream.
type authorizer interface {
	// credential returns the one to use now. Its error is a *credentialError,
	// or ctx's.
	credential(ctx context.Context) (credential, error)
	// refresh looks for one newer than used and tells whether there is one.
	refresh(ctx context.Context, used uint64) (bool, error)
	// canRefresh tells whether refresh may find one.
	canRefresh(used uint64) bool
	close()
}

// credentialError is a credential that could not be had. outcome is what a
// policy should see of the call that was not sent for want of it.
type credentialError struct {
	outcome policy.Outcome
	err     error
	// status is what the token endpoint answered, where outcome has another one.
	status int
}

func (e *credentialError) Error() string { return e.err.Error() }

func (e *credentialError) Unwrap() error { return e.err }

// unusable is a credential that a person must mend: a policy sees a 401.
func unusable(err error) *credentialError {
	return &credentialError{
		outcome: policy.Outcome{Status: http.StatusUnauthorized, Flag: policy.FlagAbsent, Body: policy.BodyEmpty, Message: err.Error()},
		err:     err,
	}
}

// staticAuth is a credential that is configured rather than fetched. It changes
// only where a file that it is read from does.
type staticAuth struct {
	render func(fresh bool) (credential, error)

	mu   sync.Mutex
	last credential
}

func (s *staticAuth) credential(context.Context) (credential, error) { return s.look(false) }

// look takes one reader at a time: one that was overtaken would bring the old
// credential back, as a new one.
func (s *staticAuth) look(fresh bool) (credential, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.render(fresh)
	if err != nil {
		return credential{}, unusable(fmt.Errorf("credential: %w", err))
	}
	if s.last.generation == 0 || !s.last.same(c) {
		c.generation = s.last.generation + 1
		s.last = c
	}
	return s.last, nil
}

func (s *staticAuth) refresh(_ context.Context, used uint64) (bool, error) {
	c, err := s.look(true)
	return err == nil && c.generation > used, err
}

func (s *staticAuth) canRefresh(used uint64) bool {
	fresh, _ := s.refresh(context.Background(), used)
	return fresh
}

func (*staticAuth) close() {}

// sendable refuses what would break out of a header.
func sendable(v string) error {
	if !httpsyntax.IsPrintable(v, false) {
		return errors.New("the secret holds a control character or a line break; check how it was stored")
	}
	return nil
}
