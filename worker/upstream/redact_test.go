package upstream

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/internal/programtest"
)

// echo is an API that repeats the whole request in its headers, its message, its body, and
// the address of a redirect.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	echoed := fmt.Sprintf("%s %s %v %s", r.Method, r.URL, r.Header, body)
	if r.URL.Path == "/away" {
		http.Redirect(w, r, "http://elsewhere.invalid/?"+r.URL.RawQuery+"&auth="+url.QueryEscape(r.Header.Get("Authorization")), http.StatusFound)
		return
	}
	for _, name := range []string{"X-Correlation-Id", "Retry-After", "RateLimit", "X-Openapi-Amount", "Content-Type"} {
		w.Header().Set(name, echoed)
	}
	w.Header().Set("Set-Cookie", "session=cookie-of-the-session")
	switch r.URL.Path {
	case "/token-refused":
		w.WriteHeader(http.StatusUnauthorized)
		json.NewEncoder(w).Encode(map[string]string{"error": "invalid_client", "error_description": echoed})
	case "/token":
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"access_token":"granted-token-9876"}`)
	case "/text":
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusBadGateway)
		fmt.Fprint(w, echoed)
	default:
		json.NewEncoder(w).Encode(map[string]any{"status": false, "error_code": "E " + echoed, "error_msg": echoed, "data": echoed})
	}
}

func TestNoSecretAppearsInAnAnswerOfAnAPIThatEchoesIt(t *testing.T) {
	s := serve(t, echo)
	const secret = `sk-"quoted"/&-0123456789`
	plain := []string{
		secret, url.QueryEscape(secret), url.PathEscape(secret), "granted-token-9876", "cookie-of-the-session", `quoted\"`, "sk-%22quoted",
		base64.StdEncoding.EncodeToString([]byte("user-name:" + secret)),
		base64.StdEncoding.EncodeToString([]byte("client-id-1:" + url.QueryEscape(secret))),
	}
	oauth := OAuth2Config{
		TokenURL: s.URL + "/token", ClientID: StaticSecret("client-id-1"), ClientSecret: StaticSecret(secret),
		Query: map[string]Secret{"apikey": StaticSecret(secret)},
	}
	refused := oauth
	refused.TokenURL = s.URL + "/token-refused"
	inBody := refused
	inBody.Style = StyleBody
	unreachable := oauth
	unreachable.TokenURL = "http://a..b/token"
	for name, auth := range map[string]Auth{
		"bearer": Bearer(StaticSecret(secret)),
		"basic":  Basic(StaticSecret("user-name"), StaticSecret(secret)),
		"header": Header("X-Api-Key", StaticSecret(secret)),
		"query":  Query("apikey", StaticSecret(secret)),
		"oauth2": OAuth2(oauth), "oauth2 refused": OAuth2(refused), "oauth2 refused, in the body": OAuth2(inBody), "oauth2 unreachable": OAuth2(unreachable),
	} {
		t.Run(name, func(t *testing.T) {
			var seen programtest.Log
			change := func(cfg *Config) {
				cfg.Auth = auth
				cfg.Logger = slog.New(slog.NewTextHandler(&seen, &slog.HandlerOptions{Level: slog.LevelDebug}))
			}
			c := newClient(t, s.URL, change)
			down := newClient(t, "http://a..b", change, func(cfg *Config) { cfg.Timeout = time.Second })
			for _, a := range []Answer{
				c.Do(within(t), Request{Path: "/"}), c.Do(within(t), Request{Path: "/text"}), c.Do(within(t), Request{Path: "/away"}),
				c.Do(within(t), Request{Method: "POST", Path: "/", Body: []byte("x")}), down.Do(within(t), Request{Path: "/"}),
			} {
				fmt.Fprintf(&seen, "%+v\n%s\n%v\n", a, a.Body, a.Err)
				j, err := json.Marshal(a)
				if err != nil {
					t.Fatal(err)
				}
				seen.Write(j)
			}
			_, err := c.Refresh(within(t), 1)
			fmt.Fprintf(&seen, "%v %+v %#v\n", err, c.cfg, c.cfg)
			for _, p := range plain {
				if i := strings.Index(seen.String(), p); i >= 0 {
					t.Errorf("%s appears in: …%.300s", p, seen.String()[max(0, i-100):])
				}
			}
			if !strings.Contains(seen.String(), redacted) {
				t.Error("the output contains no redaction mark: the API has echoed nothing")
			}
		})
	}
}

func TestASecretAtTheCutOfALongMessageIsRemovedCompletely(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"status":false,"error_msg":"%s%s"}`, strings.Repeat("x", maxMessage-12), r.Header.Get("Authorization"))
	})
	c := newClient(t, s.URL, func(cfg *Config) { cfg.Auth = Bearer(StaticSecret(hidden)) })
	if got := c.Do(within(t), Request{Path: "/"}).Outcome.Message; strings.Contains(got, hidden[:3]) {
		t.Errorf("…%s", got[len(got)-20:])
	}
}

func TestAnEscapedSecretIsRemovedFromTheMessage(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"status":false,"error_msg":"bad key \u0073%s"}`, hidden[1:])
	})
	c := newClient(t, s.URL, func(cfg *Config) { cfg.Auth = Bearer(StaticSecret(hidden)) })
	if got := c.Do(within(t), Request{Path: "/"}).Outcome.Message; got != "bad key [redacted]" {
		t.Error(got)
	}
}
