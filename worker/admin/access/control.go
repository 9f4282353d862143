package access

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// Config says who has access.
type Config struct {
	// Tokens give access. If there are any, they are required on a loopback address too.
	Tokens []Token
	// Loopback reports that only this machine can reach the address.
	Loopback bool
	// Logger receives wrong tokens and their addresses. Defaults to none.
	Logger *slog.Logger
	// Now is the clock. Defaults to [time.Now].
	Now func() time.Time
}

// Token is a credential.
type Token struct {
	// Name names the token's owner, for logs and records.
	Name string
	// Role is what the token allows.
	Role Role
	// Read returns the token's current value; it is called for every request. A token
	// whose Read returns an error or an empty value gives no access.
	Read func() (string, error)
}

// ThisMachine is who asks if there are no tokens.
const ThisMachine = "this machine"

// Control decides who may use which route. It keeps the sessions and the wrong attempts,
// so one Control lives as long as the server. It is safe for concurrent use.
type Control struct {
	tokens   []Token
	loopback bool
	log      *slog.Logger
	now      func() time.Time
	attempts *attempts
	sessions *sessions
}

// New returns a Control. It returns an error if other machines can reach the address and
// there is no token, or if a token has no name or no role.
func New(cfg Config) (*Control, error) {
	if !cfg.Loopback && len(cfg.Tokens) == 0 {
		return nil, errors.New("access.Config: an address that other machines can reach needs Tokens")
	}
	for _, t := range cfg.Tokens {
		if t.Name == "" || t.Read == nil || !t.Role.Includes(Viewer) {
			return nil, fmt.Errorf("access.Config: the token %q needs Name, Role and Read", t.Name)
		}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Control{
		tokens: cfg.Tokens, loopback: cfg.Loopback, log: cfg.Logger, now: cfg.Now,
		attempts: newAttempts(cfg.Logger), sessions: newSessions(),
	}, nil
}

// caller is who sends a request.
type caller struct {
	name string
	role Role
}

type callerKey struct{}

// Who returns who sends a request: the name of the token, or [ThisMachine]. It is empty
// for a request to a public route.
func Who(ctx context.Context) string { return callerOf(ctx).name }

// RoleOf returns the role of who sends a request.
func RoleOf(ctx context.Context) Role { return callerOf(ctx).role }

func callerOf(ctx context.Context) caller {
	who, _ := ctx.Value(callerKey{}).(caller)
	return who
}

// refusedError says why a request is refused.
type refusedError struct {
	status int
	text   string
	// retryAfter is when to try again, zero if that does not help.
	retryAfter time.Duration
}

func (e *refusedError) Error() string { return e.text }

// identify returns who sends a request.
func (c *Control) identify(r *http.Request) (caller, *refusedError) {
	if len(c.tokens) == 0 {
		return caller{ThisMachine, Operator}, nil
	}
	if header := r.Header.Get("Authorization"); header != "" {
		scheme, given, _ := strings.Cut(header, " ")
		if given = strings.TrimSpace(given); !strings.EqualFold(scheme, "Bearer") || given == "" {
			return caller{}, &refusedError{status: http.StatusUnauthorized, text: "the Authorization header must be: Authorization: Bearer TOKEN"}
		}
		token, refused := c.check(r.RemoteAddr, given)
		return caller{token.Name, token.Role}, refused
	}
	if who, ok := c.fromSession(r); ok {
		return who, nil
	}
	return caller{}, &refusedError{status: http.StatusUnauthorized, text: "this needs a token of admin.tokens: send the header Authorization: Bearer TOKEN"}
}

// check returns the token that a client has given. After too many wrong ones from its
// address it does not look.
func (c *Control) check(remote, given string) (Token, *refusedError) {
	sum := sha256.Sum256([]byte(given))
	var token Token
	ok, wait := c.attempts.try(addressOf(remote), sum, c.now(), func() (found bool) {
		token, found = c.find(sum)
		return found
	})
	switch {
	case wait > 0:
		return Token{}, &refusedError{
			status: http.StatusTooManyRequests, retryAfter: wait,
			text: fmt.Sprintf("too many wrong tokens came from this address; try again in %s", wait),
		}
	case !ok:
		return Token{}, &refusedError{status: http.StatusUnauthorized, text: "the token is not one of admin.tokens"}
	}
	return token, nil
}

// find returns the token whose value has the sum. The time that it takes does not depend
// on the tokens' values.
func (c *Control) find(sum [sha256.Size]byte) (found Token, ok bool) {
	for _, t := range c.tokens {
		value, err := t.Read()
		if err != nil {
			c.log.Warn("a token cannot be read", "token", t.Name, "error", err)
		}
		if err != nil || value == "" {
			continue
		}
		want := sha256.Sum256([]byte(value))
		if subtle.ConstantTimeCompare(sum[:], want[:]) == 1 && !ok {
			found, ok = t, true
		}
	}
	return found, ok
}

// addressOf returns what wrong tokens are counted for: an IPv4 address, or the /64 network
// of an IPv6 address, of which one client may use all addresses.
func addressOf(remote string) netip.Prefix {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		host = remote
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Prefix{}
	}
	addr = addr.Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	return netip.PrefixFrom(addr, bits).Masked()
}

// localHost reports whether a Host header names this machine.
func localHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.IsLoopback()
}
