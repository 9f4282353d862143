package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-2903acc3/callq/policy"
)

// issuer is an API with a token endpoint whose answer a test chooses.
type issuer struct {
	mu     sync.Mutex
	answer func(w http.ResponseWriter, n int)
	forms  []url.Values
	basic  []string
	calls  []string
}

func (i *issuer) start(t *testing.T, change ...func(*OAuth2Config)) *Client {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/oauth/token" {
			i.mu.Lock()
			i.calls = append(i.calls, r.Header.Get("Authorization")+" "+r.URL.RawQuery)
			i.mu.Unlock()
			io.WriteString(w, `{"status":true}`)
			return
		}
		r.ParseForm()
		user, password, _ := r.BasicAuth()
		i.mu.Lock()
		i.forms = append(i.forms, r.PostForm)
		i.basic = append(i.basic, user+" "+password)
		n := len(i.forms)
		i.mu.Unlock()
		i.answer(w, n)
	})
	oauth := OAuth2Config{
		TokenURL: s.URL + "/oauth/token",
		ClientID: StaticSecret("client-id-1"), ClientSecret: StaticSecret("client-secret-1"),
	}
	for _, c := range change {
		c(&oauth)
	}
	return newClient(t, s.URL, func(cfg *Config) { cfg.Auth = OAuth2(oauth) })
}

func (i *issuer) asked() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.forms)
}

func numbered(w http.ResponseWriter, n int) {
	fmt.Fprintf(w, `{"token":"token-%d","expires_in":"1799","status":"approved"}`, n)
}

func TestATokenIsFetchedOnceAndCarriedByEveryCall(t *testing.T) {
	i := &issuer{answer: numbered}
	c := i.start(t, func(auth *OAuth2Config) {
		auth.Query = map[string]Secret{"apikey": StaticSecret("client-id-1")}
		auth.Scopes = []string{"read", "write"}
	})
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			if a := c.Do(context.Background(), Request{Path: "/x?q=1"}); a.Err != nil || a.TokenGeneration != 1 {
				t.Errorf("generation %d, %v", a.TokenGeneration, a.Err)
			}
		})
	}
	wg.Wait()
	if i.asked() != 1 {
		t.Errorf("%d tokens were fetched", i.asked())
	}
	for _, call := range i.calls {
		if call != "Bearer token-1 q=1&apikey=client-id-1" {
			t.Errorf("arrived: %s", call)
		}
	}
	if f := i.forms[0]; f.Get("grant_type") != "client_credentials" || f.Get("scope") != "read write" || f.Has("client_secret") {
		t.Errorf("form %v", f)
	}
	if i.basic[0] != "client-id-1 client-secret-1" {
		t.Errorf("basic %q", i.basic[0])
	}
}

func TestTheClientNamesItselfInTheBodyWhereAsked(t *testing.T) {
	i := &issuer{answer: numbered}
	c := i.start(t, func(auth *OAuth2Config) { auth.Style = StyleBody })
	if a := c.Do(within(t), Request{Path: "/"}); a.Err != nil {
		t.Fatal(a.Err)
	}
	if f := i.forms[0]; f.Get("client_id") != "client-id-1" || f.Get("client_secret") != "client-secret-1" || i.basic[0] != " " {
		t.Errorf("form %v, basic %q", f, i.basic[0])
	}
}

func TestTheBasicSchemeOfATokenRequestCarriesFormEncodedParts(t *testing.T) {
	i := &issuer{answer: numbered}
	c := i.start(t, func(auth *OAuth2Config) {
		auth.ClientID, auth.ClientSecret = StaticSecret("client:1/ü@x"), StaticSecret("secret 1:+%")
	})
	if a := c.Do(within(t), Request{Path: "/"}); a.Err != nil {
		t.Fatal(a.Err)
	}
	// RFC 6749, 2.3.1
	if want := "client%3A1%2F%C3%BC%40x secret+1%3A%2B%25"; i.basic[0] != want {
		t.Errorf("basic %q, want %q", i.basic[0], want)
	}
}

func TestARefusedTokenIsRenewedOnceForAll(t *testing.T) {
	i := &issuer{answer: numbered}
	c := i.start(t)
	c.Do(within(t), Request{Path: "/"})
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			if fresh, err := c.Refresh(context.Background(), 1); !fresh || err != nil {
				t.Errorf("fresh %v, %v", fresh, err)
			}
		})
	}
	wg.Wait()
	if i.asked() != 2 {
		t.Errorf("%d tokens were fetched, want 2", i.asked())
	}
	if a := c.Do(within(t), Request{Path: "/"}); a.TokenGeneration != 2 || !c.CanRefresh(2) {
		t.Errorf("generation %d", a.TokenGeneration)
	}
}

// What a policy sees when there is no token, and so nothing was sent.
func TestATokenThatCannotBeHadIsAnOutcome(t *testing.T) {
	tests := []struct {
		name      string
		status    int
		body      string
		transport policy.Transport
		code      string
		want      int
	}{
		{"refused", 401, `{"error":"invalid_client"}`, "", "", 401},
		{"refused with 400", 400, `{"error":"invalid_client","error_description":"unknown client"}`, "", "", 401},
		{"not found", 404, `<html>`, "", "", 401},
		{"an error of the API", 200, `{"status":false,"error_code":67200003,"error_msg":"expired"}`, "", "67200003", 200},
		{"status false", 200, `{"status":false}`, "", "", 401},
		{"no token in it", 200, `{"access":"x"}`, "", "", 401},
		{"too many requests", 429, `{}`, "", "", 429},
		{"broken", 500, `oops`, policy.TransportResetBeforeSend, "", 0},
		{"a page", 200, `<html>maintenance`, policy.TransportResetBeforeSend, "", 0},
		{"nothing", 200, ``, policy.TransportResetBeforeSend, "", 0},
		{"a redirect", 302, ``, policy.TransportRedirect, "", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			i := &issuer{answer: func(w http.ResponseWriter, _ int) {
				w.Header().Set("Retry-After", "7")
				w.Header().Set("X-Correlation-Id", "c-1")
				w.WriteHeader(tt.status)
				io.WriteString(w, tt.body)
			}}
			c := i.start(t)
			a := c.Do(within(t), Request{Path: "/"})
			o := a.Outcome
			if a.NotSent || o.Transport != tt.transport || o.Status != tt.want || o.Code != tt.code || a.Err == nil || o.ReceivedAt.IsZero() {
				t.Errorf("%+v (%v)", o, a.Err)
			}
			if tt.want != 0 && o.CorrelationID != "c-1" {
				t.Errorf("correlation id %q", o.CorrelationID)
			}
			if tt.want == 429 && a.Kept.RetryAfter != "7" {
				t.Errorf("kept %+v", a.Kept)
			}
			if len(i.calls) != 0 {
				t.Error("the call was sent")
			}
		})
	}
}

func TestATokenRequestThatBreaksOffIsBeforeTheSend(t *testing.T) {
	for name, tt := range map[string]struct {
		base string
		want policy.Transport
	}{
		"reset": {answering(t, "", reset), policy.TransportResetBeforeSend},
		"hang":  {answering(t, "", hang), policy.TransportTimeoutBeforeSend},
		"body":  {answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", hang), policy.TransportTimeoutBeforeSend},
		"name":  {"http://a..b", policy.TransportDNS},
	} {
		c := newClient(t, tt.base, func(cfg *Config) {
			cfg.Timeout = 150 * time.Millisecond
			cfg.Auth = OAuth2(OAuth2Config{TokenURL: tt.base + "/token", ClientID: StaticSecret("id"), ClientSecret: StaticSecret(hidden)})
		})
		if a := c.Do(within(t), Request{Path: "/"}); a.Outcome.Transport != tt.want || a.NotSent {
			t.Errorf("%s: %+v (%v)", name, a.Outcome, a.Err)
		}
	}
}

func TestAnEndpointMayHandOutTheSameTokenAgain(t *testing.T) {
	i := &issuer{answer: func(w http.ResponseWriter, _ int) { io.WriteString(w, `{"token":"the-only-token"}`) }}
	c := i.start(t)
	for used := range uint64(3) {
		if fresh, err := c.Refresh(within(t), used); !fresh || err != nil {
			t.Errorf("fresh %v, %v", fresh, err)
		}
		if a := c.Do(within(t), Request{Path: "/"}); a.Err != nil {
			t.Error(a.Err)
		}
	}
	for _, call := range i.calls {
		if call != "Bearer the-only-token " {
			t.Errorf("arrived: %s", call)
		}
	}
}

func TestACallerWhoLeavesWhileATokenIsFetchedIsNotServed(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	i := &issuer{answer: func(w http.ResponseWriter, n int) {
		close(asked)
		<-release
		numbered(w, n)
	}}
	c := i.start(t)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-asked
		cancel()
	}()
	if a := c.Do(ctx, Request{Path: "/"}); !a.NotSent || !isCanceled(a.Err) {
		t.Errorf("%+v", a)
	}
	close(release)
	// The fetch went on for whoever comes next.
	if a := c.Do(within(t), Request{Path: "/"}); a.Outcome.Status != 200 || i.asked() != 1 {
		t.Errorf("%+v after %d fetches", a.Outcome, i.asked())
	}
}

func counted(life time.Duration) (*tokens, *atomic.Int32, *atomic.Bool) {
	var (
		fetched atomic.Int32
		fail    atomic.Bool
	)
	return newTokens(func(context.Context) (grant, *credentialError) {
		n := fetched.Add(1)
		if fail.Load() {
			return grant{}, unusable(errors.New("down"))
		}
		return grant{token: fmt.Sprint("t", n), life: life}, nil
	}, quietLog), &fetched, &fail
}

func TestATokenIsRenewedBeforeItEnds(t *testing.T) {
	for life, early := range map[time.Duration]time.Duration{1799 * time.Second: time.Minute, 30 * time.Second: 3 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			tokens, fetched, _ := counted(life)
			defer tokens.close()
			tokens.get(t.Context())
			<-time.After(life - early - time.Millisecond)
			tokens.get(t.Context())
			synctest.Wait()
			if fetched.Load() != 1 {
				t.Errorf("life %v: renewed too early", life)
			}
			<-time.After(time.Millisecond)
			// Nobody waits for the new token while the old one works.
			for range 5 {
				if got, err := tokens.get(t.Context()); got.token != "t1" && got.token != "t2" || err != nil {
					t.Errorf("life %v: %q, %v", life, got.token, err)
				}
			}
			synctest.Wait()
			if got, _ := tokens.get(t.Context()); got.token != "t2" || got.generation != 2 || fetched.Load() != 2 {
				t.Errorf("life %v: %q after %d fetches", life, got.token, fetched.Load())
			}
		})
	}
}

func TestAnEarlyRenewalThatFailsLeavesTheTokenInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens, fetched, fail := counted(100 * time.Second)
		defer tokens.close()
		tokens.get(t.Context())
		fail.Store(true)
		<-time.After(91 * time.Second)
		for range 10 {
			if got, err := tokens.get(t.Context()); got.token != "t1" || err != nil {
				t.Errorf("%q, %v", got.token, err)
			}
			synctest.Wait()
		}
		if fetched.Load() != 2 {
			t.Errorf("%d fetches; a failure is to be followed by a pause", fetched.Load())
		}
		<-time.After(9 * time.Second)
		if _, err := tokens.get(t.Context()); err == nil {
			t.Error("a token past its end was handed out")
		}
		fail.Store(false)
		if got, err := tokens.get(t.Context()); got.generation != 2 || err != nil {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func TestATokenOfUnknownLifeIsUsedUntilItIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens, fetched, _ := counted(0)
		defer tokens.close()
		tokens.get(t.Context())
		<-time.After(1000 * time.Hour)
		if got, _ := tokens.get(t.Context()); got.token != "t1" || fetched.Load() != 1 {
			t.Errorf("%q after %d fetches", got.token, fetched.Load())
		}
		if got, _ := tokens.renew(t.Context(), 1); got.token != "t2" {
			t.Errorf("%q", got.token)
		}
		// Refused with the older one: replay with what there is.
		if got, _ := tokens.renew(t.Context(), 1); got.token != "t2" || fetched.Load() != 2 {
			t.Errorf("%q after %d fetches", got.token, fetched.Load())
		}
	})
}

func TestAClosedClientFetchesNoToken(t *testing.T) {
	i := &issuer{answer: numbered}
	c := i.start(t)
	c.Close()
	if a := c.Do(within(t), Request{Path: "/"}); a.Err == nil || i.asked() != 0 {
		t.Errorf("%+v", a)
	}
}

func TestEveryShapeOfATokenAnswerIsRead(t *testing.T) {
	tests := []struct {
		body, field, token string
		life               time.Duration
	}{
		{`{"token":"a","expires_in":"1799","status":"approved"}`, "", "a", 1799 * time.Second},
		{`{"access_token":"a","token_type":"Bearer","expires_in":3600}`, "", "a", time.Hour},
		{`{"data":{"token":"a","expires_in":"60"},"status":true}`, "", "a", time.Minute},
		{`{"data":{"access_token":"a"},"expires_in":1.5e1}`, "", "a", 15 * time.Second},
		{`{"result":{"key.x":{"jwt":"a","expires_in":5}}}`, "result.key.x.jwt", "", 0},
		{`{"result":{"jwt":"a","expires_in":5}}`, "result.jwt", "a", 5 * time.Second},
		{`{"data":{"jwt":"a"}}`, "jwt", "a", 0},
		{`{"token":"a","jwt":"b"}`, "jwt", "b", 0},
		{`{"token":"a"}`, "jwt", "", 0},
		{`{"*":"a"}`, "*", "a", 0},
		{`{"token":"a","expires_in":-1}`, "", "a", 0},
		{`{"token":"a","expires_in":"soon"}`, "", "a", 0},
		{`{"token":"a","expires_in":"NaN"}`, "", "a", 0},
		{`{"token":"a","expires_in":"1e300"}`, "", "a", maxTokenLife},
		{`{"token":"a b"}`, "", "", 0},
		{`{"token":"a\r\nX: y"}`, "", "", 0},
		{`{"token":"\u00e9"}`, "", "", 0},
		{`{"token":""}`, "", "", 0},
		{`{"token":7}`, "", "", 0},
		{`["token"]`, "", "", 0},
		{`{"token":"a"`, "", "", 0},
		{``, "", "", 0},
	}
	for _, tt := range tests {
		g, err := readToken([]byte(tt.body), tt.field)
		if g.token != tt.token || g.life != tt.life || (err == nil) != (tt.token != "") {
			t.Errorf("%s: %q for %v, %v", tt.body, g.token, g.life, err)
		}
	}
}

func FuzzReadToken(f *testing.F) {
	for _, s := range []string{
		`{"token":"a","expires_in":"1799"}`, `{"data":{"token":"a","expires_in":1e9}}`, `{"access_token":"\u0000"}`, `{"token":{"token":"a"}}`, `{"a":{"b":"c"}}`,
	} {
		f.Add([]byte(s), "")
		f.Add([]byte(s), "a.b")
	}
	f.Add([]byte(`{"":{"":"x"}}`), ".")
	f.Fuzz(func(t *testing.T, body []byte, field string) {
		g, err := readToken(body, field)
		if (err == nil) != (g.token != "") || !visible(g.token) || len(g.token) > maxToken || g.life < 0 || g.life > maxTokenLife {
			t.Fatalf("%+v, %v", g, err)
		}
		for _, status := range []int{302, 400, 429, 503} {
			if tokenRefusal(status, http.Header{}, content{bytes: body}) == nil {
				t.Fatalf("%d may hold a token", status)
			}
		}
	})
}
