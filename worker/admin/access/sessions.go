package access

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"sync"
	"time"
)

const (
	// sessionCookie is the cookie of a session.
	sessionCookie = "callq_session"
	// sessionFor is how long a session lasts.
	sessionFor = 12 * time.Hour
	// maxSessions bounds the memory for sessions. The oldest makes room for a new one.
	maxSessions = 1000
)

// sessions are the sessions of browsers. They end with the process.
type sessions struct {
	mu sync.Mutex
	// by has the sessions by the sums of their cookies.
	by map[[sha256.Size]byte]session
}

type session struct {
	// token is the name of the token that the browser signed in with, and sum that of its
	// value: the session ends when the token gets another value.
	token string
	sum   [sha256.Size]byte
	ends  time.Time
}

func newSessions() *sessions { return &sessions{by: map[[sha256.Size]byte]session{}} }

// begin begins a session and returns the value of its cookie.
func (s *sessions) begin(token string, sum [sha256.Size]byte, now time.Time) string {
	value := rand.Text() + rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.by) >= maxSessions {
		s.makeRoom(now)
	}
	s.by[sha256.Sum256([]byte(value))] = session{token: token, sum: sum, ends: now.Add(sessionFor)}
	return value
}

// makeRoom removes the sessions that have ended, or else the one that ends first.
func (s *sessions) makeRoom(now time.Time) {
	var first [sha256.Size]byte
	for cookie, one := range s.by {
		if !now.Before(one.ends) {
			delete(s.by, cookie)
		} else if other, ok := s.by[first]; !ok || one.ends.Before(other.ends) {
			first = cookie
		}
	}
	if len(s.by) >= maxSessions {
		delete(s.by, first)
	}
}

func (s *sessions) get(cookie string, now time.Time) (session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, ok := s.by[sha256.Sum256([]byte(cookie))]
	return one, ok && now.Before(one.ends)
}

func (s *sessions) end(cookie string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.by, sha256.Sum256([]byte(cookie)))
}

// SignedIn reports whether a browser has signed in, so that it can sign out.
func (c *Control) SignedIn(r *http.Request) bool {
	_, ok := c.fromSession(r)
	return ok
}

// fromSession returns who a browser has signed in as.
func (c *Control) fromSession(r *http.Request) (caller, bool) {
	cookie, err := r.Cookie(sessionCookie)
	if err != nil {
		return caller{}, false
	}
	one, ok := c.sessions.get(cookie.Value, c.now())
	if !ok {
		return caller{}, false
	}
	for _, t := range c.tokens {
		if t.Name != one.token {
			continue
		}
		value, err := t.Read()
		if err != nil || value == "" {
			break // without a word: find logs it
		}
		if sum := sha256.Sum256([]byte(value)); subtle.ConstantTimeCompare(sum[:], one.sum[:]) == 1 {
			return caller{t.Name, t.Role}, true
		}
	}
	c.sessions.end(cookie.Value)
	return caller{}, false
}
