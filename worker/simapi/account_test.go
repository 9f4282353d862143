package simapi

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// get sends a GET straight to the handler, with a bearer token unless it is "".
func get(s *Server, target, token string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", target, nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func TestAQuotaRefusesUntilItsWindowTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{Quota: Quota{Calls: 2, Window: 10 * time.Second, RetryAfter: true, Status: 403}})
		start := time.Now()
		for _, c := range []struct {
			at    time.Duration
			want  string
			retry string
		}{
			{0, "ok", ""},
			{3 * time.Second, "ok", ""},
			{3500 * time.Millisecond, "67200001@403", "7"},
			{9999 * time.Millisecond, "67200001@403", "1"},
			{10 * time.Second, "ok", ""},
			{31 * time.Second, "ok", ""}, // the window opened with this call, not at 30 s
			{40500 * time.Millisecond, "ok", ""},
			{40900 * time.Millisecond, "67200001@403", "1"},
			{41 * time.Second, "ok", ""},
		} {
			time.Sleep(time.Until(start.Add(c.at))) // the bubble's clock
			w := get(s, "/x", "")
			if got := s.book.entry(s.book.seq).answer; got != c.want || w.Header().Get("Retry-After") != c.retry {
				t.Errorf("at %v: %s, Retry-After %q", c.at, got, w.Header().Get("Retry-After"))
			}
		}
	})
}

func TestARefusalMayBeABareStatus(t *testing.T) {
	for _, c := range []struct {
		config Config
		want   string
	}{
		{Config{Quota: Quota{Calls: 1, Window: time.Hour, Code: "none"}}, "http:429"},
		{Config{Quota: Quota{Calls: 1, Window: time.Hour, Code: "none", Status: 403}}, "http:403"},
		{Config{Quota: Quota{Calls: 1, Window: time.Hour, Code: "67200000"}}, "67200000"},
		{Config{Rate: Rate{PerSecond: 1e-9, Code: "none"}}, "http:429"},
		{Config{Rate: Rate{PerSecond: 1e-9}}, "67200002"},
	} {
		s := New(c.config)
		if got := asks(s, "GET", "/x", "/x"); got != "ok "+c.want {
			t.Errorf("%+v: %s", c.config, got)
		}
	}
}

func TestTheHiddenRateLetsThroughWhatATokenBucketDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		perSecond := float64(rapid.IntRange(1, 50).Draw(t, "per second"))
		burst := rapid.IntRange(1, 20).Draw(t, "burst")
		now := time.Unix(0, 0)
		s := New(Config{Now: func() time.Time { return now }, Rate: Rate{PerSecond: perSecond, Burst: burst}})
		start, passed := now, 0
		for range 100 {
			now = now.Add(time.Duration(rapid.IntRange(0, 200).Draw(t, "gap")) * time.Millisecond)
			get(s, "/x", "")
			if s.book.entry(s.book.seq).answer == "ok" {
				passed++
			}
			if most := float64(burst) + perSecond*now.Sub(start).Seconds(); float64(passed) > most+1e-6 {
				t.Fatalf("%d passed by %v, at most %v should", passed, now.Sub(start), most)
			}
		}
		now = now.Add(time.Duration(float64(time.Second) / perSecond * 1.001))
		get(s, "/x", "")
		if got := s.book.entry(s.book.seq).answer; got != "ok" {
			t.Fatalf("after the time for one call: %s", got)
		}
	})
}

func TestTheRateChangesAtRunTime(t *testing.T) {
	s := New(Config{Now: func() time.Time { return time.Unix(0, 0) }})
	s.SetRate(Rate{PerSecond: 2})
	first := asks(s, "GET", "/x", "/x", "/x")
	s.SetRate(Rate{})
	if got := first + " " + asks(s, "GET", "/x"); got != "ok ok 67200002 ok" {
		t.Error(got)
	}
}

func TestTheBalanceRunsOutAndOnlyWorkIsCharged(t *testing.T) {
	s := New(Config{Balance: Balance{Credit: 0.3, PerCall: 0.1}, Script: MustParseScript("GET /bad -> 68300008 forever")})
	if got := asks(s, "GET", "/x", "/bad", "/x", "/bad", "/x", "/x", "/bad"); got != "ok 68300008 ok 68300008 ok 67200005 67200005" {
		t.Error(got)
	}
	if got := s.Stats().Charged; got < 0.2999 || got > 0.3001 {
		t.Errorf("charged %v", got)
	}
	s.SetBalance(Balance{Credit: 1, PerCall: 0.25})
	if w := get(s, "/x", ""); w.Header().Get("X-Openapi-Amount") != "0.25" {
		t.Errorf("x-openapi-amount %q", w.Header().Get("X-Openapi-Amount"))
	}
	if w := get(s, "/bad", ""); w.Header().Get("X-Openapi-Amount") != "" {
		t.Errorf("an error was billed")
	}
}

func TestATokenOpensUntilItExpires(t *testing.T) {
	now := time.Unix(1000, 0)
	s := New(Config{Now: func() time.Time { return now }, Token: "sk-1", TokenUntil: now.Add(time.Minute), Script: MustParseScript("GET /s -> 1; 2")})
	for _, c := range []struct {
		token  string
		after  time.Duration
		answer string
		auth   AuthState
	}{
		{"", 0, "67200003@401", AuthAbsent},
		{"sk-2", 0, "67200003@401", AuthInvalid},
		{"sk-1", 0, "1", AuthValid}, // the refused calls did not advance the script
		{"sk-1", time.Minute, "67200003@401", AuthInvalid},
	} {
		now = now.Add(c.after)
		get(s, "/s", c.token)
		if got := s.book.entry(s.book.seq); got.answer != c.answer || got.auth != c.auth {
			t.Errorf("%q: %s, %s", c.token, got.answer, got.auth)
		}
	}
	s.SetToken("sk-3", time.Time{})
	if w := get(s, "/s", "sk-3"); w.Code != 200 {
		t.Errorf("the new token: %d", w.Code)
	}
	s.ExpireTokens()
	if w := get(s, "/s", "sk-3"); w.Code != 401 {
		t.Errorf("the expired token: %d", w.Code)
	}
}

func TestTheApikeyIsAskedForAndCompared(t *testing.T) {
	s := New(Config{APIKey: "id"})
	if got := asks(s, "GET", "/x", "/x?apikey=other", "/x?apikey=id"); got != "67200008@401 67200009@401 ok" {
		t.Error(got)
	}
}

// askToken asks for a token; form nil: HTTP Basic.
func askToken(s *Server, id, secret string, inForm bool) *httptest.ResponseRecorder {
	body := "grant_type=client_credentials"
	if inForm {
		body += "&client_id=" + id + "&client_secret=" + secret
	}
	r := httptest.NewRequest("POST", "/oauth/token", strings.NewReader(body))
	if !inForm {
		r.SetBasicAuth(id, secret)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func TestOAuthTokensAreIssuedAndExpire(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, c := range []struct {
		oauth  OAuth
		inForm bool
		field  string
	}{
		{OAuth{}, false, "token"},
		{OAuth{TokenField: "access_token", Nested: true}, true, "access_token"},
	} {
		c.oauth.ClientID, c.oauth.ClientSecret = "id", "shh"
		s := New(Config{Now: func() time.Time { return now }, OAuth: c.oauth})
		w := askToken(s, "id", "shh", c.inForm)
		var got map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got["status"] != "approved" {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if c.oauth.Nested {
			got = got["data"].(map[string]any)
		}
		token, _ := got[c.field].(string)
		if got["expires_in"] != "1799" || token == "" {
			t.Errorf("%s", w.Body)
		}
		if w := get(s, "/x", token); w.Code != 200 {
			t.Errorf("a fresh token: %d", w.Code)
		}
		if w := get(s, "/x", token+"x"); w.Code != 401 {
			t.Errorf("an unknown token: %d", w.Code)
		}
		now = now.Add(1799 * time.Second)
		if w := get(s, "/x", token); w.Code != 401 || !strings.Contains(w.Body.String(), "67200003") {
			t.Errorf("an old token: %d %s", w.Code, w.Body)
		}
		if st := s.Stats(); st.TokensIssued != 1 || st.ByAnswer["token"] != 1 {
			t.Errorf("%+v", st)
		}
	}
}

func TestATokenIsRefusedToStrangersAndTheScriptMayFailTheEndpoint(t *testing.T) {
	s := New(Config{OAuth: OAuth{ClientID: "id", ClientSecret: "shh"}, Script: MustParseScript("POST /oauth/token -> http:503; ok x9")})
	if w := askToken(s, "id", "shh", false); w.Code != 503 {
		t.Errorf("scripted: %d", w.Code)
	}
	if w := askToken(s, "id", "no", false); w.Code != 401 || !strings.Contains(w.Body.String(), "invalid_client") {
		t.Errorf("wrong secret: %d %s", w.Code, w.Body)
	}
	if w := askToken(s, "id", "", true); w.Code != 401 {
		t.Errorf("no secret: %d", w.Code)
	}
	for _, body := range []string{"grant_type=password", "", "%zz"} {
		r := httptest.NewRequest("POST", "/oauth/token", strings.NewReader(body))
		r.SetBasicAuth("id", "shh")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != 400 {
			t.Errorf("%q: %d", body, w.Code)
		}
	}
	if st := s.Stats(); st.ByAnswer["token-refused"] != 5 || st.TokensIssued != 0 {
		t.Errorf("%+v", st)
	}
}

func TestLatencyIsWaitedWithinItsBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{Latency: Latency{Min: 10 * time.Millisecond, Max: 20 * time.Millisecond}, Script: MustParseScript("GET /slow -> latency=1s")})
		seen := map[time.Duration]bool{}
		for range 20 {
			start := time.Now()
			get(s, "/x", "")
			took := time.Since(start)
			if took < 10*time.Millisecond || took >= 20*time.Millisecond {
				t.Errorf("took %v", took)
			}
			seen[took] = true
		}
		if len(seen) < 10 {
			t.Errorf("only %d different latencies in 20", len(seen))
		}
		start := time.Now()
		get(s, "/slow", "")
		if took := time.Since(start); took < time.Second+10*time.Millisecond {
			t.Errorf("a step's latency comes on top; took %v", took)
		}
	})
}

func TestAWrongConfigIsRefusedWithItsField(t *testing.T) {
	for _, c := range []struct {
		config Config
		want   string
	}{
		{Config{HangCap: -1}, "HangCap"},
		{Config{LogCap: -1}, "LogCap"},
		{Config{LogHeaders: []string{"authorization"}}, "Authorization carries credentials"},
		{Config{Latency: Latency{Min: -1}}, "latency"},
		{Config{Quota: Quota{Calls: -1}}, "quota"},
		{Config{Quota: Quota{Code: "abc"}}, "quota code"},
		{Config{Quota: Quota{Status: 99}}, "quota status 99"},
		{Config{Rate: Rate{PerSecond: -1}}, "rate"},
		{Config{Balance: Balance{PerCall: -1}}, "balance"},
		{Config{OAuth: OAuth{ClientSecret: "s"}}, "OAuth.ClientSecret"},
		{Config{OAuth: OAuth{Lifetime: -1}}, "OAuth.Lifetime"},
		{Config{Envelope: Envelope{Message: "m"}}, "envelope message"},
		{Config{Envelope: Envelope{Code: "hex"}}, "envelope code"},
		{Config{Envelope: Envelope{Status: "yes"}}, "envelope status"},
	} {
		err := c.config.Validate()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want %s, got %v", c.want, err)
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("New took %+v", c.config)
				}
			}()
			New(c.config)
		}()
	}
	if err := (Config{}).Validate(); err != nil {
		t.Errorf("the zero Config: %v", err)
	}
}

var _ http.Handler = (*Server)(nil)
