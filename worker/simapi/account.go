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
	api       *api // nil: the default one
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

// auth judges the token of a call.
func (a *account) auth(now time.Time, r *http.Request) AuthState {
	if a.token == "" && a.oauth.ClientID == "" {
		return AuthUnchecked
	}
	tokens := a.tokensOf(r)
	if tokens == nil {
		return AuthAbsent
	}
	for _, token := range tokens {
		if a.token != "" && same(token, a.token) && (a.tokenUntil.IsZero() || now.Before(a.tokenUntil)) {
			return AuthValid
		}
		if until, known := a.issued[token]; known && now.Before(until) {
			return AuthValid
		}
	}
	return AuthInvalid
}

// tokensOf returns what may be the token of a call: a bearer token and, at an API of its own form, the header that it
// reads and both parts of HTTP Basic. Nil: there is no credential at all.
func (a *account) tokensOf(r *http.Request) []string {
	var tokens []string
	if a.api != nil {
		if own := r.Header.Get(a.api.tokenHeader); own != "" {
			tokens = append(tokens, own)
		}
		if name, password, basic := r.BasicAuth(); basic {
			return append(tokens, name, password)
		}
	}
	header := r.Header.Get("Authorization")
	if header == "" {
		return tokens
	}
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") && (a.api == nil || !strings.EqualFold(scheme, "token")) {
		token = ""
	}
	return append(tokens, token)
}

// issuedPrefix begins every token that is issued.
const issuedPrefix = "sim-"

// refuseToken says that a token is wrong or, where the API tells these apart, that its time is over.
func (a *account) refuseToken(r *http.Request) answer {
	if a.api == nil {
		return refuse(codeToken, http.StatusUnauthorized)
	}
	for _, token := range a.tokensOf(r) {
		if a.token != "" && same(token, a.token) || strings.HasPrefix(token, issuedPrefix) {
			return a.api.answerNamed(a.api.expiredToken, 0)
		}
	}
	return a.api.answerNamed(a.api.badToken, 0)
}

// admit lets a call through to the script, or says what refuses it.
func (a *account) admit(now time.Time, r *http.Request, auth AuthState) (refusal answer, admitted bool) {
	if auth == AuthAbsent || auth == AuthInvalid {
		return a.refuseToken(r), false
	}
	if a.apiKey != "" {
		switch key := r.URL.Query().Get("apikey"); {
		case key == "":
			return refuse(codeKeyMissing, http.StatusUnauthorized), false
		case !same(key, a.apiKey):
			return refuse(codeKeyWrong, http.StatusUnauthorized), false
		}
	}
	if left, ok := a.takeFromBucket(now); !ok {
		if a.api != nil {
			return a.api.answerNamed(a.api.overLimit, max(left, 1)), false
		}
		return refuse(orElse(a.rate.Code, codeRate), 0), false
	}
	if left, ok := a.takeFromWindow(now); !ok {
		return a.refuseOverQuota(max(left, 1)), false
	}
	if b := a.balance; b.PerCall > 0 && float64(a.charged+1)*b.PerCall > b.Credit*(1+1e-9) {
		switch {
		case a.api == nil:
			return refuse(codeBalance, 0), false
		case a.api.outOfCredit != "":
			return a.api.answerNamed(a.api.outOfCredit, 0), false
		}
	}
	return answer{}, true
}

func (a *account) refuseOverQuota(left time.Duration) answer {
	if a.api != nil {
		return a.api.answerNamed(a.api.overLimit, left)
	}
	no := refuse(orElse(a.quota.Code, codeQuota), a.quota.Status)
	if a.quota.RetryAfter {
		no.retry = retryAfter{set: true, wait: left}
	}
	return no
}

// takeFromBucket says, where there is no token, how long it takes until there is one.
func (a *account) takeFromBucket(now time.Time) (left time.Duration, ok bool) {
	if a.rate.PerSecond == 0 {
		return 0, true
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
		return time.Duration((1 - a.bucket) / a.rate.PerSecond * float64(time.Second)), false
	}
	a.bucket = max(0, a.bucket-1)
	return 0, true
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

// meter is where the account stands in the window of its quota.
func (a *account) meter() meter {
	if a.quota.Calls == 0 || a.quota.Window == 0 {
		return meter{}
	}
	return meter{counts: true, limit: a.quota.Calls, left: a.quota.Calls - a.used, window: a.quota.Window, end: a.windowEnd}
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
	token = issuedPrefix + rand.Text()
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
