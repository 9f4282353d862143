package upstream

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/internal/programtest"
	"github.com/seed-2903acc3/callq/worker/redact"
)

// partsOf returns the parts of the credential that an API can extract from a request: the
// last word of the header, user and password of the Basic scheme, the query encoded and
// decoded.
func partsOf(r *http.Request) []string {
	var parts []string
	for _, name := range []string{"Authorization", "X-Key", "Cookie"} {
		value := r.Header.Get(name)
		if value == "" {
			continue
		}
		words := strings.Fields(value)
		last := words[len(words)-1]
		parts = append(parts, value, last, strings.Trim(last[strings.IndexByte(last, '=')+1:], `"`))
		if plain, err := base64.StdEncoding.DecodeString(last); err == nil {
			_, password, _ := strings.Cut(string(plain), ":")
			parts = append(parts, string(plain), password)
		}
	}
	for _, values := range r.URL.Query() {
		parts = append(parts, values...)
	}
	return append(parts, r.URL.RawQuery)
}

// echoCredential is an API that echoes each part of the credential in its headers, its
// message, and its body.
func echoCredential(w http.ResponseWriter, r *http.Request) {
	parts := partsOf(r)
	echoed := strings.Join(parts, " | ")
	for _, name := range []string{"X-Correlation-Id", "Retry-After", "X-Openapi-Amount"} {
		w.Header().Set(name, echoed)
	}
	switch r.URL.Path {
	case "/text":
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusBadGateway)
		fmt.Fprint(w, echoed)
	case "/away":
		http.Redirect(w, r, "http://"+url.QueryEscape(parts[0])+".invalid/", http.StatusFound)
	default:
		w.WriteHeader(http.StatusBadRequest)
		json.NewEncoder(w).Encode(map[string]any{"status": false, "error_code": 68300004, "error_msg": echoed, "data": parts})
	}
}

func TestNoPartOfACredentialAppearsInAnAnswer(t *testing.T) {
	const key = "sk-live-9f8e7d6c5b4a3f2e1d"
	dir := t.TempDir()
	file := func(content string) Secret {
		path := filepath.Join(dir, fmt.Sprint(len(content), content[0]))
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return FileSecret(path)
	}
	env := func(value string) Secret {
		name := "CALLQ_TEST_" + strings.ToUpper(fmt.Sprintf("%x", value))
		t.Setenv(name, value)
		return EnvSecret(name)
	}
	is := StaticSecret
	basic := base64.StdEncoding.EncodeToString([]byte("alice:" + key))
	header := func(value Secret) Auth { return Header("X-Key", value) }
	for name, auth := range map[string]Auth{
		"bearer":                                    Bearer(env(key)),
		"bearer with spaces":                        Bearer(env(" " + key + "  ")),
		"bearer that begins with Bearer":            Bearer(env("Bearer " + key)),
		"bearer from a file":                        Bearer(file(key + "\n")),
		"bearer from a file with a byte order mark": Bearer(file("\ufeff" + key + "\r\n")),
		"bearer from a file with spaces":            Bearer(file(key + " \n")),
		"bearer of parts":                           Bearer(ConcatSecrets(env("left-"), is("x"), env(key))),
		"header":                                    header(env(key)),
		"header, scheme and key":                    header(ConcatSecrets(is("Token "), env(key))),
		"header, written out":                       header(is("Token " + key)),
		"header, vendor's scheme":                   header(ConcatSecrets(is("GenieKey "), file(key))),
		"header with a parameter":                   header(ConcatSecrets(is(`Token token="`), env(key), is(`", email="a@b.example"`))),
		"header, parameter written out":             header(is(`Token token="` + key + `"`)),
		"header Authorization, Basic":               Header("Authorization", ConcatSecrets(is("Basic "), env(basic))),
		"header Authorization, Basic, all":          Header("Authorization", env("Basic "+basic)),
		"header Cookie":                             Header("Cookie", is("session="+key)),
		"query":                                     Query("apikey", env(key)),
		"query with spaces":                         Query("apikey", env(key+" ")),
		"query of parts":                            Query("sig", ConcatSecrets(is("v1/"), env(key))),
		"basic":                                     Basic(is("alice"), env(key)),
		"basic of parts":                            Basic(is("alice"), ConcatSecrets(is("p:"), file(key))),
		"basic with the key as user":                Basic(env(key), is("x")),
		"basic with the key as user, all parts":     Basic(ConcatSecrets(env(key), is("/token")), is("x")),
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, echoCredential)
			var seen programtest.Log
			c := newClient(t, s.URL, func(cfg *Config) {
				cfg.Auth, cfg.Logger = auth, slog.New(slog.NewTextHandler(&seen, &slog.HandlerOptions{Level: slog.LevelDebug}))
			})
			for _, path := range []string{"/", "/text", "/away"} {
				a := c.Do(within(t), Request{Path: path})
				fmt.Fprintf(&seen, "%+v\n%s\n%v\n", a, a.Body, a.Err)
			}
			if text := seen.String(); strings.Contains(text, key) || strings.Contains(text, basic) {
				t.Errorf("the key appears in: %s", text)
			}
			if !strings.Contains(seen.String(), redacted) {
				t.Errorf("the API has echoed no secret: %s", &seen)
			}
		})
	}
}

func TestAUserNameAndASchemeAreNotRemoved(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"status":true,"data":"Basic users like integration-user-1 may call; efficiency is high"}`)
	})
	t.Setenv("CALLQ_TEST_USER", "integration-user-1")
	for name, auth := range map[string]Auth{
		"fixed":       Basic(StaticSecret("integration-user-1"), StaticSecret("efficiency")),
		"environment": Basic(EnvSecret("CALLQ_TEST_USER"), FileSecret(writtenFile(t, "efficiency"))),
	} {
		c := newClient(t, s.URL, func(cfg *Config) { cfg.Auth = auth })
		if a := c.Do(within(t), Request{Path: "/"}); strings.Contains(string(a.Body), redacted) {
			t.Errorf("%s: %s", name, a.Body)
		}
	}
}

func writtenFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// serveEchoedTokens starts an API with a token endpoint. The endpoint returns tokenAnswer, in
// which it replaces ECHO with the client's credentials. The API echoes the credential of a
// call and all planted secrets.
func serveEchoedTokens(t *testing.T, status int, tokenAnswer string, planted []string) *httptest.Server {
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		_, secret, _ := r.BasicAuth()
		echoed := fmt.Sprint(partsOf(r), secret, r.Form, r.Header)
		w.Header().Set("X-Correlation-Id", echoed)
		if r.URL.Path == "/token" {
			quoted, _ := json.Marshal(echoed)
			w.WriteHeader(status)
			fmt.Fprint(w, strings.ReplaceAll(tokenAnswer, "ECHO", string(quoted[1:len(quoted)-1])))
			return
		}
		w.WriteHeader(http.StatusBadRequest)
		json.NewEncoder(w).Encode(map[string]any{"error_msg": echoed + strings.Join(planted, " "), "data": echoed})
	})
}

func TestTokensOfATokenEndpointNeverAppearInResultsOrLogs(t *testing.T) {
	planted := []string{"at-0123456789abcdef", "rt-0123456789abcdef", "id.0123456789abcdef", "dt-0123456789abcdef", "cs-0123456789/abcdef", "qk-0123456789abcdef", "tq-0123456789abcdef"}
	for _, style := range []AuthStyle{StyleBasic, StyleBody} {
		for name, tc := range map[string]struct {
			status        int
			answer, field string
		}{
			"a token":                {200, `{"access_token":"at-0123456789abcdef","token_type":"Bearer","refresh_token":"rt-0123456789abcdef","id_token":"id.0123456789abcdef"}`, ""},
			"a token in a field":     {200, `{"data":{"auth":{"deep":"at-0123456789abcdef"}},"device_token":"dt-0123456789abcdef","refresh_token":"rt-0123456789abcdef"}`, "auth.deep"},
			"tokens beside an error": {400, `{"error":"invalid_request","error_description":"at-0123456789abcdef","access_token":"at-0123456789abcdef"}`, ""},
			"an error that echoes":   {401, `{"error":"invalid_client","error_description":"ECHO"}`, ""},
			"an error in a 200":      {200, `{"error":"invalid_client","error_description":"ECHO","refresh_token":"rt-0123456789abcdef"}`, ""},
			"an envelope that echos": {200, `{"status":false,"error_code":67200003,"error_msg":"ECHO"}`, ""},
		} {
			t.Run(string(style)+"/"+name, func(t *testing.T) {
				s := serveEchoedTokens(t, tc.status, tc.answer, planted)
				var seen programtest.Log
				all := &redact.Redactor{}
				c := newClient(t, s.URL, func(cfg *Config) {
					cfg.Redactor, cfg.Logger = all, slog.New(slog.NewTextHandler(&seen, &slog.HandlerOptions{Level: slog.LevelDebug}))
					cfg.Auth = OAuth2(OAuth2Config{
						TokenURL: s.URL + "/token?api_key=tq-0123456789abcdef", ClientID: StaticSecret("client-id-1"), ClientSecret: StaticSecret("cs-0123456789/abcdef"),
						Style: style, TokenField: tc.field, Query: map[string]Secret{"apikey": StaticSecret("qk-0123456789abcdef")},
					})
				})
				for range 2 {
					a := c.Do(within(t), Request{Path: "/"})
					fmt.Fprintf(&seen, "%+v\n%s\n%v\n", a, a.Body, a.Err)
				}
				_, err := c.Refresh(within(t), 1)
				fmt.Fprintln(&seen, err)
				received := tc.answer + "cs-0123456789/abcdef tq-0123456789abcdef"
				for _, secret := range planted {
					if strings.Contains(received, secret) && strings.Contains(seen.String(), secret) {
						t.Errorf("%s appears in: %s", secret, &seen)
					}
					if strings.Contains(received, secret) && all.Text(secret) != redacted {
						t.Errorf("Config.Redactor does not remove %s", secret)
					}
				}
				if !strings.Contains(seen.String(), redacted) {
					t.Errorf("the API has echoed no secret: %s", &seen)
				}
			})
		}
	}
}

func TestTheCredentialsInProxyURLsAreRemoved(t *testing.T) {
	const key = "pr-0123456789"
	for value, secrets := range map[string][]string{
		"http://alice:" + key + "@proxy.example:3128":     {key, base64.StdEncoding.EncodeToString([]byte("alice:" + key))},
		"alice:" + key + "@proxy.example:3128":            {key},
		"http://alice:p%40ss-" + key + "@proxy.example":   {"p@ss-" + key, "p%40ss-" + key, base64.StdEncoding.EncodeToString([]byte("alice:p@ss-" + key))},
		"http://alice:pa ss-" + key + "@proxy.example":    {"pa ss-" + key},
		"http://" + key + "@proxy.example":                {key, base64.StdEncoding.EncodeToString([]byte(key + ":"))},
		"http://alice:" + key + "@bad host%zz:port":       {key},
		"socks5://alice@corp:" + key + "@proxy.example:1": {key},
	} {
		for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"} {
			r := redact.New(maxRedacted, nil)
			addProxySecrets(r, func(asked string) string {
				if asked == name {
					return value
				}
				return ""
			})
			for i := range maxRedacted + 1 {
				r.Add(fmt.Sprintf("token of hour %d", i))
			}
			for _, secret := range secrets {
				if got := r.Text("invalid proxy address " + secret + " " + value); strings.Contains(got, key) || strings.Contains(got, secret) {
					t.Errorf("%s=%s: %s", name, value, got)
				}
			}
		}
	}
}
