package notify

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"

	"github.com/seed-2903acc3/callq/internal/httpsyntax"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/upstream"
)

// Format is the form of a request's body.
type Format string

// The formats.
const (
	FormatJSON  Format = "json"
	FormatSlack Format = "slack"
)

// Receiver is where events are sent.
type Receiver struct {
	// Name is 1 to 48 of a-z, 0-9, _ and -.
	Name string
	// URL is read each time: a part of it may be secret.
	URL upstream.Secret
	// Secret signs the requests. It is read each time. Zero only for FormatSlack.
	Secret upstream.Secret
	// Types are the events that it gets.
	Types  []Type
	Format Format
}

var receiverName = regexp.MustCompile(`^[a-z0-9_-]{1,48}$`)

// CheckName checks the name of a receiver. Its error does not repeat it.
func CheckName(name string) error {
	if !receiverName.MatchString(name) {
		return errors.New("cannot name a receiver; use 1 to 48 of a-z, 0-9, _ and -")
	}
	return nil
}

// CheckURL checks the address of a receiver. Its errors show only its scheme.
func CheckURL(raw string) error {
	if u, err := url.Parse(raw); err == nil && u.User != nil {
		return errors.New("contains a user name or password; a receiver knows the sender by the signature")
	}
	return httpsyntax.CheckURL(raw)
}

// Upstream is the name of the receiver's own upstream, and of the batch of its events.
func (r Receiver) Upstream() string { return UpstreamOf(r.Name) }

// UpstreamOf is the upstream of the receiver with the name. No upstream of a configuration
// can have such a name.
func UpstreamOf(receiver string) string { return ledger.NotificationPrefix + receiver }

// validate checks the receiver, and reads its secrets to do so.
func (r Receiver) validate() error {
	var errs []error
	fail := func(field string, err error) { errs = append(errs, fmt.Errorf("%s: %w", field, err)) }
	if err := CheckName(r.Name); err != nil {
		fail("name", fmt.Errorf("%q %w", r.Name, err))
	}
	if address, err := r.URL.Value(); err != nil {
		fail("url", err)
	} else if err := CheckURL(address); err != nil {
		fail("url", err)
	}
	if r.Format != FormatJSON && r.Format != FormatSlack {
		fail("format", fmt.Errorf("%q is not one of json and slack", r.Format))
	}
	if !r.Secret.IsZero() {
		if secret, err := r.Secret.Value(); err != nil {
			fail("secret", err)
		} else if err := CheckSecret(secret); err != nil {
			fail("secret", err)
		}
	} else if r.Format == FormatJSON {
		fail("secret", errors.New("is missing: it signs the requests, so that the receiver knows who sent them"))
	}
	if len(r.Types) == 0 {
		fail("events", errors.New("is empty: name at least one"))
	}
	for _, t := range r.Types {
		if !slices.Contains(Types, t) {
			fail("events", fmt.Errorf("%q is not an event", t))
		}
	}
	return errors.Join(errs...)
}
