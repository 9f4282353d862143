package simapi

import (
	"crypto/rand"
	"crypto/subtle"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// AuthState says what a call's credential was worth. The credential itself is never kept.
type AuthState string

// What a credential can be worth.
const (
	AuthUnchecked AuthState = "unchecked" // the Server asks for none
	AuthAbsent    AuthState = "absent"
	AuthValid     AuthState = "valid"
	AuthInvalid   AuthState = "invalid" // unknown or expired
)

// account is what the API knows of its one client. The Server's mutex guards it.
type account struct {
	quota     Quota
	windowEnd time.Time
	used      int

	rate   Rate
	bucket float64
	filled time.Time // zero: the bucket has not been used, so it is full

	balance Balance
	charged int

	token      string
	tokenUntil time.Time
	apiKey     string
	oauth      OAuth
	issued     map[string]time.Time // token to the end of its life
}

// auth judges the bearer token of a call.
func (a *account) auth(now time.Time, r *http.Request) AuthState {
	if a.token == "" && a.oauth.ClientID == "" {
		return AuthUnchecked
	}
	header := r.Header.Get("Authorization")
	if header == "" {
		return AuthAbsent
	}
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return AuthInvalid
	}
	if a.token != "" && same(token, a.token) && (a.tokenUntil.IsZero() || now.Before(a.tokenUntil)) {
		return AuthValid
	}
	if until, known := a.issued[token]; known && now.Before(until) {
		return AuthValid
	}
	return AuthInvalid
}

// admit lets a call through to the script, or says what refuses it.
func (a *account) admit(now time.Time, r *http.Request, auth AuthState) (refusal answer, admitted bool) {
	if auth == AuthAbsent || auth == AuthInvalid {
		return refuse(codeToken, http.StatusUnauthorized), false
	}
	if a.apiKey != "" {
		switch key := r.URL.Query().Get("apikey"); {
		case key == "":
			return refuse(codeKeyMissing, http.StatusUnauthorized), false
		case !same(key, a.apiKey):
			return refuse(codeKeyWrong, http.StatusUnauthorized), false
		}
	}
	if !a.takeFromBucket(now) {
		return refuse(orElse(a.rate.Code, codeRate), 0), false
	}
	if left, ok := a.takeFromWindow(now); !ok {
		no := refuse(orElse(a.quota.Code, codeQuota), a.quota.Status)
		if a.quota.RetryAfter {
			no.retry = retryAfter{set: true, wait: max(left, 1)}
		}
		return no, false
	}
	if b := a.balance; b.PerCall > 0 && float64(a.charged+1)*b.PerCall > b.Credit*(1+1e-9) {
		return refuse(codeBalance, 0), false
	}
	return answer{}, true
}

func (a *account) takeFromBucket(now time.Time) bool {
	if a.rate.PerSecond == 0 {
		return true
	}
	size := float64(a.rate.Burst)
	if a.rate.Burst == 0 {
		size = math.Ceil(a.rate.PerSecond)
	}
	if a.filled.IsZero() {
		a.bucket = size
	} else if passed := now.Sub(a.filled); passed > 0 {
		a.bucket = min(size, a.bucket+passed.Seconds()*a.rate.PerSecond)
	}
	a.filled = now
	// A bucket filled by many small sums may miss a whole token by a rounding error.
	if a.bucket < 1-1e-9 {
		return false
	}
	a.bucket = max(0, a.bucket-1)
	return true
}

func (a *account) takeFromWindow(now time.Time) (left time.Duration, ok bool) {
	if a.quota.Calls == 0 || a.quota.Window == 0 {
		return 0, true
	}
	if !now.Before(a.windowEnd) {
		a.windowEnd, a.used = now.Add(a.quota.Window), 0
	}
	if a.used >= a.quota.Calls {
		return a.windowEnd.Sub(now), false
	}
	a.used++
	return 0, true
}

// forget gives back what was spent. Tokens stay good: clients hold them.
func (a *account) forget() {
	a.windowEnd, a.used = time.Time{}, 0
	a.bucket, a.filled = 0, time.Time{}
	a.charged = 0
}

// issue makes a token.
func (a *account) issue(now time.Time) (token string, life time.Duration) {
	for t, until := range a.issued {
		if !now.Before(until) {
			delete(a.issued, t)
		}
	}
	life = a.oauth.Lifetime
	if life == 0 {
		life = defaultLifetime
	}
	token = "sim-" + rand.Text()
	a.issued[token] = now.Add(life)
	return token, life
}

// expireTokens ends every issued token's life, and that of the configured token.
func (a *account) expireTokens(now time.Time) {
	clear(a.issued)
	a.tokenUntil = now
}

// knows tells whether the client credentials are the configured ones.
func (a *account) knows(id, secret string) bool {
	return a.oauth.ClientID != "" && same(id, a.oauth.ClientID) && same(secret, a.oauth.ClientSecret)
}

func same(a, b string) bool {
	return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}

// refuse is the account's answer: an envelope, or the bare status when code is "none".
func refuse(code string, status int) answer {
	a := answer{kind: kindCode, code: code, status: status}
	if code == "none" {
		a = answer{kind: kindHTTP, status: status}
		if status == 0 {
			a.status = http.StatusTooManyRequests
		}
	}
	a.label = labelOf(a)
	return a
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// seconds rounds up, so that who waits so long does not come too early.
func seconds(d time.Duration) string {
	return strconv.FormatInt(int64(math.Ceil(d.Seconds())), 10)
}
