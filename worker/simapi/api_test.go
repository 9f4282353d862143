package simapi

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// simulate returns a Server of an API whose clock stands still at noon.
func simulate(api, script string, change ...func(*Config)) *Server {
	c := Config{API: api, Script: mustFor(api, script), Correlation: "c", Now: func() time.Time { return noon }}
	for _, do := range change {
		do(&c)
	}
	return New(c)
}

func mustFor(api, text string) *Script {
	s, err := ParseScriptFor(api, text)
	if err != nil {
		panic(err)
	}
	return s
}

func post(s *Server, path string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader("{}"))
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func TestEachAPIRefusesInItsOwnForm(t *testing.T) {
	for _, c := range []struct {
		api, answer string
		status      int
		body        string // a part of it
		header      map[string]string
	}{
		{"openai", "insufficient-quota", 429, `"type":"insufficient_quota","param":null,"code":"insufficient_quota"`, nil},
		{"openai", "rate-limit wait=6m", 429, `Please try again in 6m0s.","type":"tokens"`,
			map[string]string{"x-ratelimit-reset-tokens": "6m0s", "x-ratelimit-remaining-tokens": "0", "Retry-After": ""}},
		{"openai", "request-limit wait=12ms", 429, `"type":"requests"`, map[string]string{"x-ratelimit-reset-requests": "12ms"}},
		{"anthropic", "overloaded", 529, `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}`, nil},
		{"anthropic", "credit-balance", 400, "Your credit balance is too low", nil},
		{"anthropic", "rate-limit wait=30s", 429, `"type":"rate_limit_error"`,
			map[string]string{"Retry-After": "30", "anthropic-ratelimit-requests-reset": "2026-01-02T12:00:30Z"}},
		{"google", "rate-limit wait=13s", 429, `"retryDelay":"13s"`, nil},
		{"google", "old-rate-limit", 403, `"reason":"userRateLimitExceeded"`, nil},
		{"github", "rate-limit wait=90s", 403, "API rate limit exceeded",
			map[string]string{"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1767355290", "Retry-After": ""}},
		{"github", "secondary-limit", 403, "secondary rate limit", map[string]string{"x-ratelimit-remaining": "", "Retry-After": ""}},
		{"github", "secondary-limit wait=60s", 403, "secondary rate limit", map[string]string{"Retry-After": "60"}},
		{"github", "graphql-rate-limit", 200, `"type":"RATE_LIMITED"`, map[string]string{"x-ratelimit-remaining": "0"}},
		{"stripe", "conflict", 409, `"code":"idempotency_key_in_use"`, map[string]string{"Stripe-Should-Retry": "true"}},
		{"stripe", "declined", 402, `"code":"card_declined","decline_code":"generic_decline"`, nil},
		{"shopify", "throttled wait=4s", 200, `"requestedQueryCost":200,"actualQueryCost":null,"throttleStatus":{"maximumAvailable":1000.0,"currentlyAvailable":0,"restoreRate":50.0}`, nil},
		{"slack", "ratelimited", 200, `{"ok":false,"error":"ratelimited"}`, map[string]string{"Retry-After": ""}},
		{"slack", "rate-limit wait=30s", 429, `"error":"ratelimited"`, map[string]string{"Retry-After": "30"}},
		{"slack", "invalid-auth", 200, `{"ok":false,"error":"invalid_auth"}`, nil},
		{"salesforce", "request-limit", 403, `[{"message":"TotalRequests Limit exceeded.","errorCode":"REQUEST_LIMIT_EXCEEDED"`,
			map[string]string{"Sforce-Limit-Info": "api-usage=100000/100000"}},
		{"hubspot", "daily-limit", 429, `"policyName":"DAILY"`, nil},
		{"twilio", "too-many", 429, `{"code":20429,"message":"Too Many Requests"`, nil},
		{"jira", "tenant-quota wait=5m", 429, `{"errorMessages":["Rate limit exceeded."]`,
			map[string]string{"RateLimit-Reason": "jira-quota-tenant-based", "Retry-After": "300", "X-RateLimit-Reset": "2026-01-02T12:05:00Z"}},
		{"aws", "throttling", 400, `{"__type":"com.amazonaws.sim#ThrottlingException","message":"Rate exceeded"}`, nil},
		{"aws", "rest-throttling", 429, `{"message":"Too Many Requests"}`,
			map[string]string{"X-Amzn-ErrorType": "TooManyRequestsException:http://internal.amazon.com/sim/"}},
		{"epo-ops", "week-quota", 403, "<code>403</code>", map[string]string{"X-Rejection-Reason": "RegisteredQuotaPerWeek", "Content-Type": "application/xml"}},
		{"epo-ops", "expired-token", 400, "<message>invalid_access_token</message><description>Access token has expired</description>", nil},
	} {
		t.Run(c.api+" "+c.answer, func(t *testing.T) {
			got := post(simulate(c.api, "* * -> "+c.answer), "/v1/x")
			if got.Code != c.status || !strings.Contains(got.Body.String(), c.body) {
				t.Errorf("status %d: %s", got.Code, got.Body)
			}
			for name, want := range c.header {
				if value := got.Header().Get(name); value != want {
					t.Errorf("%s: %q, want %q", name, value, want)
				}
			}
		})
	}
}

// everyTemplate calls visit with each template of an API.
func (p *api) everyTemplate(visit func(where, template string)) {
	visit("headers", strings.Join(append(p.headers, p.limitHeaders...), "\n"))
	visit("token", p.tokenBody)
	for _, s := range p.success {
		visit(s.call, s.reply.template())
	}
	for name, r := range p.replies {
		visit(name, r.template())
	}
}

func TestEveryTemplateNamesValuesThatExist(t *testing.T) {
	for _, p := range apis {
		p.everyTemplate(func(where, template string) {
			os.Expand(template, func(name string) string {
				if values[name] == nil {
					t.Errorf("%s, %s: no value is named %q", p.name, where, name)
				}
				return ""
			})
		})
	}
}

func TestEveryReplyOfAnAccountIsInItsTable(t *testing.T) {
	for _, p := range apis {
		wanted := []string{p.overLimit, p.badToken, p.expiredToken}
		if p.outOfCredit != "" {
			wanted = append(wanted, p.outOfCredit)
		}
		if p.keepsAnswers {
			wanted = append(wanted, keyInUse, keyOfAnother)
		}
		for _, name := range wanted {
			if _, found := p.replies[name]; !found {
				t.Errorf("%s has no reply %q", p.name, name)
			}
		}
		if last := p.success[len(p.success)-1]; last.call != "*" {
			t.Errorf("%s: the last good answer is for %q, want *", p.name, last.call)
		}
	}
}

func TestEveryBodyIsWellFormed(t *testing.T) {
	check := func(t *testing.T, got *httptest.ResponseRecorder) {
		t.Helper()
		if strings.Contains(got.Header().Get("Content-Type"), "xml") {
			d := xml.NewDecoder(got.Body)
			for {
				if _, err := d.Token(); errors.Is(err, io.EOF) {
					return
				} else if err != nil {
					t.Fatal(err)
				}
			}
		}
		if got.Code != http.StatusNoContent && !json.Valid(got.Body.Bytes()) {
			t.Errorf("%s", got.Body)
		}
	}
	for _, name := range APIs() {
		if name == DefaultAPI {
			continue
		}
		for _, answer := range Answers(name) {
			check(t, post(simulate(name, "* * -> "+answer), "/v1/x"))
		}
		for _, s := range apis[name].success {
			method, path, found := strings.Cut(strings.ReplaceAll(s.call, "*", ""), " ")
			if !found || method == "" {
				method, path = "GET", "/"+strings.TrimPrefix(path, "/")
			}
			got := httptest.NewRecorder()
			simulate(name, "").ServeHTTP(got, httptest.NewRequest(method, "/"+strings.TrimPrefix(path, "/"), nil))
			if got.Code >= 300 {
				t.Errorf("%s %s: status %d", name, s.call, got.Code)
			}
			check(t, got)
		}
		check(t, post(simulate(name, "* * -> big=5KB"), "/v1/x"))
	}
}

func TestAMessageIsQuotedForWhereItStands(t *testing.T) {
	for api, want := range map[string]string{
		"openai bad-request": `"message":"a \"b\" <c> $5"`, "epo-ops bad-request": `<message>a &#34;b&#34; &lt;c&gt; $5</message>`,
	} {
		name, answer, _ := strings.Cut(api, " ")
		got := post(simulate(name, "* * -> "+answer+" message=`a \"b\" <c> $5`"), "/v1/x")
		if !strings.Contains(got.Body.String(), want) {
			t.Errorf("%s: %s", api, got.Body)
		}
	}
}

func TestTheGeneralAnswersWorkForEveryAPI(t *testing.T) {
	for _, name := range APIs() {
		s := simulate(name, "* * -> cut; malformed; http:503; html; body=x; ok@202; ok latency=0s; reset-after")
		codes := []int{200, 200, 503, 200, 200, 202}
		for i, want := range codes {
			got := httptest.NewRecorder()
			s.ServeHTTP(got, httptest.NewRequest("GET", "/v1/x", nil))
			if got.Code != want {
				t.Errorf("%s, call %d: status %d, want %d", name, i+1, got.Code, want)
			}
		}
		if st := s.Stats(); st.Worked != 2 {
			t.Errorf("%s: %d calls worked, want cut and ok", name, st.Worked)
		}
	}
}

func TestAWrongAnswerOfAnAPIIsNamedWithItsOwn(t *testing.T) {
	for _, c := range []struct{ api, line, want string }{
		{"openai", "* * -> throttled", `unknown answer "throttled"; want ok, bad-request, forbidden, insufficient-quota`},
		{"openai", "* * -> 68300008", `"68300008" is an answer of patsnap, not of openai`},
		{"openai", "* * -> no-code", `"no-code" is an answer of patsnap`},
		{"openai", "* * -> overloaded wait=3s", "overloaded does not say how long to wait"},
		{"slack", "* * -> invalid-auth message=x", "invalid-auth has no message of its own"},
		{"openai", "* * -> http:429 wait=3s", "wait goes with an answer that the API names"},
		{"patsnap", "* * -> ok wait=3s", "wait goes with an answer that the API names"},
		{"openai", "* * -> rate-limit wait=0s", "wait=0s; want a duration"},
	} {
		_, err := ParseScriptFor(c.api, c.line)
		var wrong *ParseError
		if !errors.As(err, &wrong) || !strings.Contains(wrong.Problem, c.want) {
			t.Errorf("%s %s: %v", c.api, c.line, err)
		}
	}
	if _, err := ParseScriptFor("nowhere", ""); err == nil || !strings.Contains(err.Error(), `unknown API "nowhere"; want one of anthropic, aws`) {
		t.Error(err)
	}
}

func TestWhatAnAPIDoesNotHaveIsRefused(t *testing.T) {
	for _, c := range []struct {
		config Config
		want   string
	}{
		{Config{API: "nowhere"}, `unknown API "nowhere"`},
		{Config{API: "github", Balance: Balance{Credit: 1, PerCall: 1}}, "github has no prepaid balance"},
		{Config{API: "openai", APIKey: "k"}, "openai asks for no apikey"},
		{Config{API: "openai", Envelope: Envelope{Message: "msg"}}, "openai has no envelope"},
		{Config{API: "openai", Quota: Quota{Calls: 1, Window: 1, RetryAfter: true}}, "openai refuses calls in its own way"},
		{Config{API: "openai", OAuth: OAuth{ClientID: "a", Nested: true}}, "openai issues tokens in its own form"},
		{Config{API: "openai", Script: MustParseScript("")}, "the script is one for patsnap, the API is openai"},
	} {
		if err := c.config.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

func TestLimitsCountUnderConcurrency(t *testing.T) {
	for _, name := range APIs() {
		t.Run(name, func(t *testing.T) {
			s := simulate(name, "", func(c *Config) { c.Quota = Quota{Calls: 40, Window: time.Minute} })
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() { post(s, "/v1/x") })
			}
			wg.Wait()
			refused := "67200001"
			if p := apis[name]; p != nil {
				refused = p.overLimit
			}
			if st := s.Stats(); st.ByAnswer["ok"] != 40 || st.ByAnswer[refused] != 60 {
				t.Errorf("answers %v", st.ByAnswer)
			}
		})
	}
}

func TestBudgetsRunOutUnderConcurrency(t *testing.T) {
	for name, p := range apis {
		if p.outOfCredit == "" {
			continue
		}
		s := simulate(name, "", func(c *Config) { c.Balance = Balance{Credit: 30, PerCall: 1} })
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { post(s, "/v1/x") })
		}
		wg.Wait()
		if st := s.Stats(); st.ByAnswer["ok"] != 30 || st.ByAnswer[p.outOfCredit] != 70 || st.Charged != 30 {
			t.Errorf("%s: %v", name, st.ByAnswer)
		}
	}
}

func FuzzParseScriptOfAnAPI(f *testing.F) {
	f.Add("openai", "* * -> rate-limit wait=6m; overloaded; ok", "/v1/x")
	f.Add("epo-ops", "* * -> week-quota message=\"<a>\"; big=5KB", "/")
	f.Add("shopify", "* * -> throttled wait=1ns@500 gzip", "/graphql.json")
	f.Add("slack", "shared * * -> ratelimited wait=2562047h47m16s; cut", "/${id}")
	f.Fuzz(func(t *testing.T, api, text, path string) {
		script, err := ParseScriptFor(api, text)
		if err != nil || api == DefaultAPI || api == "" {
			return
		}
		for _, rule := range script.rules {
			for _, s := range rule.steps {
				if a := s.answer; !a.onTheWire() || a.latency > 0 || a.size > 1<<20 {
					return
				}
			}
		}
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.URL.Path = "/" + path
		simulate(api, text).ServeHTTP(httptest.NewRecorder(), r)
	})
}
