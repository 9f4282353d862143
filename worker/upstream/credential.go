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
	// generation is 1 for the first credential and increases with each new one.
	generation uint64
	header     string
	value      string
	query      []param
}

type param struct{ name, value string }

func (c credential) equal(d credential) bool {
	return c.header == d.header && c.value == d.value && slices.Equal(c.query, d.query)
}

// apply sets the credential on a request and replaces any value that is already there.
func (c credential) apply(h http.Header, u *url.URL) {
	if c.header != "" {
		h.Set(c.header, c.value)
	}
	for _, p := range c.query {
		u.RawQuery = setParam(u.RawQuery, p)
	}
}

// setParam sets one parameter and leaves the rest of the query unchanged.
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

// authorizer returns the credentials of an upstream.
type authorizer interface {
	// credential returns the current credential. Its error is a *credentialError or the
	// error of ctx.
	credential(ctx context.Context) (credential, error)
	// refresh looks for a credential newer than generation used and reports whether
	// there is one.
	refresh(ctx context.Context, used uint64) (bool, error)
	// canRefresh reports whether refresh may find one.
	canRefresh(used uint64) bool
	// noteRefused and noteAccepted say what the API said to a credential that is newer
	// than one that it had refused.
	noteRefused(generation uint64)
	noteAccepted(generation uint64)
	close()
}

// credentialError reports that there is no usable credential, so the call was not sent.
// outcome is what the policy judges.
type credentialError struct {
	outcome policy.Outcome
	err     error
	// status is the HTTP status of the token endpoint; outcome may have another one.
	status int
}

func (e *credentialError) Error() string { return e.err.Error() }

func (e *credentialError) Unwrap() error { return e.err }

// unauthorized returns a credentialError for a credential that a person must fix. The
// policy sees a 401.
func unauthorized(err error) *credentialError {
	return &credentialError{
		outcome: policy.Outcome{Status: http.StatusUnauthorized, Flag: policy.FlagAbsent, Body: policy.BodyEmpty, Message: err.Error()},
		err:     err,
	}
}

// staticAuth is an authorizer for a configured credential, in contrast to a token. It
// changes only when a file with a secret changes.
type staticAuth struct {
	// build reads the secrets and returns the credential; see readOptions for fresh.
	build func(fresh bool) (credential, error)

	mu   sync.Mutex
	last credential
}

func (s *staticAuth) credential(context.Context) (credential, error) { return s.current(false) }

// current holds the lock while it reads the secrets: otherwise a slow reader could
// return the old credential as a new generation.
func (s *staticAuth) current(fresh bool) (credential, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.build(fresh)
	if err != nil {
		return credential{}, unauthorized(fmt.Errorf("credential: %w", err))
	}
	if s.last.generation == 0 || !s.last.equal(c) {
		c.generation = s.last.generation + 1
		s.last = c
	}
	return s.last, nil
}

func (s *staticAuth) refresh(_ context.Context, used uint64) (bool, error) {
	c, err := s.current(true)
	return err == nil && c.generation > used, err
}

func (s *staticAuth) canRefresh(used uint64) bool {
	fresh, _ := s.refresh(context.Background(), used)
	return fresh
}

// The credential is new only if a file has changed; the next change is another one.
func (*staticAuth) noteRefused(uint64)  {}
func (*staticAuth) noteAccepted(uint64) {}

func (*staticAuth) close() {}

// checkHeaderValue refuses a value that could end the header.
func checkHeaderValue(v string) error {
	if !httpsyntax.IsPrintable(v, false) {
		return errors.New("the secret contains a control character or a line break; check how it was stored")
	}
	return nil
}
