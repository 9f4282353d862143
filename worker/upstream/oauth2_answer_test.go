package upstream

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/policy"
)

// If there is no token, the call is not sent, and the policy judges this outcome.
func TestAFailedTokenRequestIsAnOutcome(t *testing.T) {
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

func TestABrokenTokenRequestIsAFailureBeforeTheSend(t *testing.T) {
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

func TestEveryFormOfATokenAnswerIsRead(t *testing.T) {
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
		{`{"token":"a","expires_in":"1e300"}`, "", "a", maxTokenLifetime},
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
		if g.token != tt.token || g.lifetime != tt.life || (err == nil) != (tt.token != "") {
			t.Errorf("%s: %q for %v, %v", tt.body, g.token, g.lifetime, err)
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
		if (err == nil) != (g.token != "") || !isVisibleASCII(g.token) || len(g.token) > maxToken || g.lifetime < 0 || g.lifetime > maxTokenLifetime {
			t.Fatalf("%+v, %v", g, err)
		}
		for _, status := range []int{302, 400, 429, 503} {
			if tokenRefusal(nil, status, http.Header{}, content{bytes: body}) == nil {
				t.Fatalf("status %d: got no refusal", status)
			}
		}
	})
}
