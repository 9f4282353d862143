package simapi

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestAQuotaIsReportedInTheAPIsOwnHeaders(t *testing.T) {
	for _, c := range []struct {
		api             string
		second, refused map[string]string // headers of the second call, and of one over the limit of 3
	}{
		{"openai",
			map[string]string{"x-ratelimit-limit-requests": "3", "x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "1m30.5s"},
			map[string]string{"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m30.5s"}},
		{"anthropic",
			map[string]string{"anthropic-ratelimit-requests-remaining": "1", "anthropic-ratelimit-requests-reset": "2026-01-02T12:01:31Z"},
			map[string]string{"anthropic-ratelimit-requests-remaining": "0", "retry-after": "91"}},
		{"github",
			map[string]string{"x-ratelimit-remaining": "1", "x-ratelimit-used": "2", "x-ratelimit-reset": "1767355291"},
			map[string]string{"x-ratelimit-remaining": "0", "x-ratelimit-used": "3", "x-ratelimit-reset": "1767355291"}},
		{"jira",
			map[string]string{"x-ratelimit-remaining": "1", "x-ratelimit-nearlimit": "false", "x-ratelimit-reset": "2026-01-02T12:01:31Z"},
			map[string]string{"x-ratelimit-remaining": "0", "x-ratelimit-nearlimit": "true", "retry-after": "91"}},
		{"hubspot",
			map[string]string{"x-hubspot-ratelimit-max": "3", "x-hubspot-ratelimit-remaining": "1", "x-hubspot-ratelimit-interval-milliseconds": "90500"},
			map[string]string{"x-hubspot-ratelimit-remaining": "0"}},
		{"salesforce", map[string]string{"sforce-limit-info": "api-usage=2/3"}, map[string]string{"sforce-limit-info": "api-usage=3/3"}},
		{"shopify", map[string]string{"x-shopify-shop-api-call-limit": "2/3"}, nil},
		{"slack", nil, map[string]string{"retry-after": "91"}},
		{"stripe", nil, map[string]string{"retry-after": "91", "stripe-rate-limited-reason": "global-rate"}},
		{"epo-ops", map[string]string{"x-individualquotaperhour-used": "2"}, map[string]string{"x-rejection-reason": "IndividualQuotaPerHour"}},
	} {
		s := simulate(c.api, "", func(cfg *Config) { cfg.Quota = Quota{Calls: 3, Window: 90500 * time.Millisecond} })
		var answers []*httptest.ResponseRecorder
		for range 4 {
			answers = append(answers, post(s, "/v1/x"))
		}
		for i, want := range map[int]map[string]string{1: c.second, 3: c.refused} {
			for name, value := range want {
				if got := answers[i].Header().Get(name); got != value {
					t.Errorf("%s, call %d: %s is %q, want %q", c.api, i+1, name, got, value)
				}
			}
		}
	}
}

func TestAQuotaOpensAgainWithItsWindow(t *testing.T) {
	now := noon
	s := New(Config{API: "openai", Quota: Quota{Calls: 1, Window: time.Minute}, Now: func() time.Time { return now }})
	var codes []int
	for range 3 {
		codes = append(codes, post(s, "/v1/x").Code, post(s, "/v1/x").Code)
		now = now.Add(time.Minute)
	}
	for i, code := range codes {
		if want := []int{200, 429}[i%2]; code != want {
			t.Errorf("call %d: status %d, want %d", i+1, code, want)
		}
	}
}

func TestARateSaysWhenItsNextCallIsTaken(t *testing.T) {
	s := simulate("anthropic", "", func(c *Config) { c.Rate = Rate{PerSecond: 0.1, Burst: 1} })
	if got := post(s, "/v1/x"); got.Code != 200 {
		t.Error(got.Code)
	}
	if got := post(s, "/v1/x"); got.Code != 429 || got.Header().Get("Retry-After") != "10" {
		t.Error(got.Code, got.Header())
	}
}

func TestATokenIsAskedForWhereTheAPIHasIt(t *testing.T) {
	for _, c := range []struct {
		api, header, value string
	}{
		{"openai", "Authorization", "Bearer secret"},
		{"anthropic", "X-Api-Key", "secret"},
		{"google", "X-Goog-Api-Key", "secret"},
		{"github", "Authorization", "token secret"},
		{"stripe", "Authorization", "Basic c2VjcmV0Og=="},
		{"shopify", "X-Shopify-Access-Token", "secret"},
		{"twilio", "Authorization", "Basic QUNzaW06c2VjcmV0"},
	} {
		s := simulate(c.api, "", func(cfg *Config) { cfg.Token = "secret" })
		if got := post(s, "/v1/x", c.header, c.value); got.Code >= 300 {
			t.Errorf("%s: status %d: %s", c.api, got.Code, got.Body)
		}
		for _, headers := range [][]string{nil, {c.header, strings.Replace(c.value, "secret", "other", 1) + "x"}} {
			if post(s, "/v1/x", headers...); s.Stats().ByAnswer[apis[c.api].badToken] == 0 {
				t.Errorf("%s: %v", c.api, s.Stats().ByAnswer)
			}
		}
	}
}

func TestATokensEndIsTheAPIsOwnError(t *testing.T) {
	for name, p := range apis {
		now := noon
		s := New(Config{
			API: name, Now: func() time.Time { return now },
			OAuth: OAuth{ClientID: "id", ClientSecret: "se", Lifetime: time.Minute},
		})
		path := orElse(p.tokenPath, tokenPath)
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader("grant_type=client_credentials"))
		r.SetBasicAuth("id", "se")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		_, token, found := strings.Cut(w.Body.String(), `"access_token":"`)
		token, _, _ = strings.Cut(token, `"`)
		if !found || w.Code != 200 {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
		if got := post(s, "/v1/x", "Authorization", "Bearer "+token); got.Code >= 300 {
			t.Errorf("%s: status %d with a new token", name, got.Code)
		}
		now = now.Add(time.Minute)
		post(s, "/v1/x", "Authorization", "Bearer "+token)
		if st := s.Stats(); st.ByAnswer[p.expiredToken] != 1 || st.TokensIssued != 1 {
			t.Errorf("%s: %v", name, st.ByAnswer)
		}
	}
}

func TestStripeKeepsAnswersByIdempotencyKey(t *testing.T) {
	s := simulate("stripe", "POST /v1/declined -> declined; ok\nPOST /v1/busy -> conflict; ok\nPOST /v1/fault -> server-error; ok")
	first := post(s, "/v1/good", "Idempotency-Key", "a")
	again := post(s, "/v1/good", "Idempotency-Key", "a")
	if first.Body.String() != again.Body.String() || first.Header().Get("Idempotent-Replayed") != "" || again.Header().Get("Idempotent-Replayed") != "true" {
		t.Errorf("first %s, again %s", first.Body, again.Body)
	}
	if other := post(s, "/v1/good", "Idempotency-Key", "b"); other.Body.String() == first.Body.String() {
		t.Error("another key got the same answer")
	}
	if wrong := post(s, "/v1/other", "Idempotency-Key", "a"); wrong.Code != 400 || !strings.Contains(wrong.Body.String(), "idempotency_error") {
		t.Errorf("another call with the same key: %s", wrong.Body)
	}
	for _, c := range []struct {
		path string
		want []int
	}{
		{"/v1/declined", []int{402, 402}}, // kept, also as it failed
		{"/v1/fault", []int{500, 500}},
		{"/v1/busy", []int{409, 200, 200}}, // refused before the work began
	} {
		for i, want := range c.want {
			if got := post(s, c.path, "Idempotency-Key", c.path); got.Code != want {
				t.Errorf("%s, call %d: status %d, want %d", c.path, i+1, got.Code, want)
			}
		}
	}
	if fresh := post(s, "/v1/fault", "Idempotency-Key", "fresh"); fresh.Code != 200 {
		t.Errorf("a fresh key after a kept fault: status %d", fresh.Code)
	}
}

func TestOneKeyDoesItsWorkOnceUnderConcurrency(t *testing.T) {
	s := simulate("stripe", "")
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { post(s, "/v1/x", "Idempotency-Key", "a") })
	}
	wg.Wait()
	st := s.Stats()
	if st.Worked != 1 || st.ByAnswer["ok"] != 1 || st.ByAnswer[labelReplayed]+st.ByAnswer[keyInUse] != 49 {
		t.Errorf("worked %d, answers %v", st.Worked, st.ByAnswer)
	}
}

func TestAnAnswerThatWasCutIsKeptWhole(t *testing.T) {
	_, client, url := serve(t, Config{API: "stripe", Script: mustFor("stripe", "* * -> reset-after; declined")})
	send := func() reply {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Idempotency-Key", "a")
		resp, err := client.Do(req)
		if err != nil {
			return reply{err: err}
		}
		resp.Body.Close()
		return reply{Response: resp}
	}
	if got := send(); got.err == nil {
		t.Error("the first answer arrived")
	}
	for {
		got := send()
		if got.err != nil {
			t.Fatal(got.err)
		}
		if got.StatusCode == http.StatusConflict {
			continue // the Server has not noticed yet that the first call ended
		}
		if got.StatusCode != 200 || got.Header.Get("Idempotent-Replayed") != "true" {
			t.Errorf("status %d", got.StatusCode)
		}
		return
	}
}

func TestEveryDemonstrationShowsAllItsFaults(t *testing.T) {
	for name, p := range apis {
		s := New(DemoOf(name, 1))
		s.SetLatency(Latency{})
		s.SetQuota(Quota{}) // counts in its own time
		for _, c := range DemoCallsOf(name, 150) {
			s.ServeHTTP(httptest.NewRecorder(), c.request())
		}
		seen := s.Stats().ByAnswer
		for _, rule := range mustFor(name, p.demo.script).rules {
			for _, step := range rule.steps {
				if seen[step.answer.label] == 0 {
					t.Errorf("%s: no call met %s", name, step.answer.label)
				}
			}
		}
	}
}

func TestTheDefaultAPIsDemonstrationIsTheOneWithoutAName(t *testing.T) {
	if got, want := DemoOf(DefaultAPI, 3), Demo(3); got.Script.String() != want.Script.String() || got.Quota != want.Quota || got.Seed != 3 {
		t.Errorf("%+v", got)
	}
	if got := DemoCallsOf("", 2); got[1].Path != DemoCalls(2)[1].Path {
		t.Errorf("%+v", got)
	}
}
