package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/policy"
)

func TestATimeoutNamesItsSetting(t *testing.T) {
	silentHandshake := func(t *testing.T) string {
		return "https://" + rawServer(t, func(conn *net.TCPConn, _ int) { hang(conn) })
	}
	for name, tt := range map[string]struct {
		base func(t *testing.T) string
		kind policy.Transport
		want string
	}{
		"no answer": {func(t *testing.T) string { return answering(t, "", hang) }, policy.TransportTimeoutAfterSend, "no answer within 150ms (timeout: 150ms of upstream api)"},
		"half an answer": {func(t *testing.T) string {
			return answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", hang)
		}, policy.TransportTimeoutAfterSend, "no complete answer within 150ms (timeout: 150ms of upstream api)"},
		"half a head":     {func(t *testing.T) string { return answering(t, "HTTP/1.1 200 OK\r\nConte", hang) }, policy.TransportTimeoutAfterSend, "no answer within 150ms (timeout: 150ms of upstream api)"},
		"no handshake":    {silentHandshake, policy.TransportTimeoutBeforeSend, "no connection within 150ms (timeout: 150ms of upstream api)"},
		"another failure": {func(t *testing.T) string { return answering(t, "", reset) }, policy.TransportResetAfterSend, "upstream api: reset_after_send: "},
	} {
		c := newClient(t, tt.base(t), func(cfg *Config) { cfg.Timeout = 150 * time.Millisecond })
		got := c.Do(within(t), Request{Path: "/"})
		late := tt.kind != policy.TransportResetAfterSend
		if got.Outcome.Transport != tt.kind || !strings.HasPrefix(got.Err.Error(), tt.want) || late && got.Err.Error() != tt.want {
			t.Errorf("%s: %s, %v; want %s", name, got.Outcome.Transport, got.Err, tt.want)
		}
		if late != strings.Contains(got.Advice, "raise timeout (now 150ms) of upstream api") || late != errors.Is(got.Err, context.DeadlineExceeded) {
			t.Errorf("%s: advice %q, error %v", name, got.Advice, got.Err)
		}
	}
}

func TestTheErrorOfARefusedTokenRequestNamesTheEndpointAndItsError(t *testing.T) {
	for name, tt := range map[string]struct {
		status int
		body   string
		want   string // after "answered STATUS "
	}{
		"refused with 400":            {400, `{"error":"invalid_client","error_description":"The secret is wrong."}`, "invalid_client: The secret is wrong."},
		"refused with 401":            {401, `{"error":"invalid_client"}`, "invalid_client"},
		"refused with 200":            {200, `{"error":"bad_credentials","error_description":"The secret is wrong."}`, "bad_credentials: The secret is wrong."},
		"200 and an error alone":      {200, `{"error":"bad_credentials"}`, "bad_credentials"},
		"200 and a description alone": {200, `{"error_description":"The secret is wrong."}`, "The secret is wrong."},
		"200 and a nested error":      {200, `{"error":{"code":7,"message":"no such client"}}`, "no such client"},
		"an envelope":                 {200, `{"status":false,"error_msg":"no such client"}`, "no such client"},
		"plain text":                  {403, `go away`, "go away"},
		"a broken server":             {500, `{"error":"server_error"}`, "server_error"},
		"too often":                   {429, `{"error":"slow_down"}`, "slow_down"},
	} {
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(tt.status)
			io.WriteString(w, tt.body)
		})
		c := newClient(t, "http://127.0.0.1:1", func(cfg *Config) {
			cfg.Auth = OAuth2(OAuth2Config{TokenURL: s.URL + "/token?tenant=0123456789", ClientID: StaticSecret("me"), ClientSecret: StaticSecret("0123456789abc")})
		})
		got := c.Do(within(t), Request{Path: "/"})
		message := got.Err.Error()
		if got.Outcome.Status != 0 {
			message = got.Outcome.Message
		}
		want := "token endpoint " + s.URL + "/token: answered "
		if !strings.Contains(message, want) || !strings.Contains(message, tt.want) || strings.Contains(message, "token_field") || strings.Contains(message, "tenant") {
			t.Errorf("%s: %s", name, message)
		}
		if got.TokenStatus != tt.status {
			t.Errorf("%s: got TokenStatus %d, want %d", name, got.TokenStatus, tt.status)
		}
	}
}

func TestTheErrorForAnAnswerWithoutATokenNamesTokenField(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"message":"ok","jwt":"x.y.z"}`) })
	c := newClient(t, "http://127.0.0.1:1", func(cfg *Config) {
		cfg.Auth = OAuth2(OAuth2Config{TokenURL: s.URL, ClientID: StaticSecret("me"), ClientSecret: StaticSecret("0123456789abc")})
	})
	if got := c.Do(within(t), Request{Path: "/"}); !strings.Contains(got.Outcome.Message, "set token_field") || got.Outcome.Status != 401 {
		t.Errorf("%+v", got.Outcome)
	}
}

func TestTheTimeoutOfATokenRequestNamesTheEndpoint(t *testing.T) {
	base := answering(t, "", hang)
	c := newClient(t, "http://127.0.0.1:1", func(cfg *Config) {
		cfg.Timeout = 150 * time.Millisecond
		cfg.Auth = OAuth2(OAuth2Config{TokenURL: base + "/token", ClientID: StaticSecret("me"), ClientSecret: StaticSecret("0123456789abc")})
	})
	got := c.Do(within(t), Request{Path: "/"})
	if want := "token endpoint " + base + "/token: no answer within 150ms"; !strings.Contains(got.Err.Error(), want) {
		t.Errorf("%v, want %s", got.Err, want)
	}
}
