package upstream

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"testing"
)

// issuer is an API with a token endpoint. answer writes the answer to the nth token request.
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

func numberedToken(w http.ResponseWriter, n int) {
	fmt.Fprintf(w, `{"token":"token-%d","expires_in":"1799","status":"approved"}`, n)
}

func TestATokenIsFetchedOnceAndSentWithEveryCall(t *testing.T) {
	i := &issuer{answer: numberedToken}
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
		t.Errorf("got %d token requests, want 1", i.asked())
	}
	for _, call := range i.calls {
		if call != "Bearer token-1 q=1&apikey=client-id-1" {
			t.Errorf("got the call %q with another credential or query", call)
		}
	}
	if f := i.forms[0]; f.Get("grant_type") != "client_credentials" || f.Get("scope") != "read write" || f.Has("client_secret") {
		t.Errorf("form %v", f)
	}
	if i.basic[0] != "client-id-1 client-secret-1" {
		t.Errorf("basic %q", i.basic[0])
	}
}

func TestStyleBodySendsTheClientIDAndSecretInTheForm(t *testing.T) {
	i := &issuer{answer: numberedToken}
	c := i.start(t, func(auth *OAuth2Config) { auth.Style = StyleBody })
	if a := c.Do(within(t), Request{Path: "/"}); a.Err != nil {
		t.Fatal(a.Err)
	}
	if f := i.forms[0]; f.Get("client_id") != "client-id-1" || f.Get("client_secret") != "client-secret-1" || i.basic[0] != " " {
		t.Errorf("form %v, basic %q", f, i.basic[0])
	}
}

func TestStyleBasicFormEncodesTheClientIDAndSecret(t *testing.T) {
	i := &issuer{answer: numberedToken}
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

func TestARefusedTokenIsRenewedOnceForAllCalls(t *testing.T) {
	i := &issuer{answer: numberedToken}
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
		t.Errorf("got %d token requests, want 2", i.asked())
	}
	if a := c.Do(within(t), Request{Path: "/"}); a.TokenGeneration != 2 || !c.CanRefresh(2) {
		t.Errorf("got generation %d, want 2", a.TokenGeneration)
	}
}

func TestATokenEndpointMayReturnTheSameTokenAgain(t *testing.T) {
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
			t.Errorf("got the call %q with another credential or query", call)
		}
	}
}

func TestACallThatIsCancelledDuringATokenRequestIsNotSent(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	i := &issuer{answer: func(w http.ResponseWriter, n int) {
		close(asked)
		<-release
		numberedToken(w, n)
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
	// The token request was not cancelled, and the next call uses its token.
	if a := c.Do(within(t), Request{Path: "/"}); a.Outcome.Status != 200 || i.asked() != 1 {
		t.Errorf("got %+v after %d token requests", a.Outcome, i.asked())
	}
}

func TestAClosedClientFetchesNoToken(t *testing.T) {
	i := &issuer{answer: numberedToken}
	c := i.start(t)
	c.Close()
	if a := c.Do(within(t), Request{Path: "/"}); a.Err == nil || i.asked() != 0 {
		t.Errorf("%+v", a)
	}
}
