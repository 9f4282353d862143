package upstream_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/worker/upstream"
)

func TestAPreviewEqualsTheSentRequestWithStarsForTheCredential(t *testing.T) {
	const secret = "s3cr3t-value"
	real := upstream.StaticSecret(secret)
	for name, auth := range map[string]upstream.Auth{
		"none":   {},
		"bearer": upstream.Bearer(real),
		"basic":  upstream.Basic(real, real),
		"header": upstream.Header("X-Api-Key", real),
		"query":  upstream.Query("apikey", real),
	} {
		var arrived *http.Request
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { arrived = r.Clone(t.Context()) }))
		cfg := upstream.Config{Name: "api", BaseURL: server.URL + "/v1", Auth: auth, IdempotencyHeader: "Idempotency-Key", Headers: map[string]string{"X-Team": "a"}}
		r := upstream.Request{Method: "POST", Path: "/pay?a=1", Body: []byte(`{"n":1}`), ContentType: "application/json", IdempotencyKey: "id-1"}
		c, err := upstream.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		c.Do(t.Context(), r)
		c.Close()
		server.Close()
		shown, err := upstream.Preview(cfg, r)
		if err != nil || arrived == nil {
			t.Fatalf("%s: %v, arrived %v", name, err, arrived != nil)
		}
		if shown.Method != arrived.Method || shown.URL.Path != arrived.URL.Path || shown.ContentLength != arrived.ContentLength {
			t.Errorf("%s: %s %s, arrived %s %s", name, shown.Method, shown.URL, arrived.Method, arrived.URL)
		}
		if want := strings.ReplaceAll(arrived.URL.RawQuery, secret, "***"); shown.URL.RawQuery != want {
			t.Errorf("%s: query %s, want %s", name, shown.URL.RawQuery, want)
		}
		for field, values := range arrived.Header {
			got, want := shown.Header.Get(field), strings.ReplaceAll(values[0], secret, "***")
			if name == "basic" && field == "Authorization" {
				want = "Basic ***"
			}
			if field != "Content-Length" && got != want {
				t.Errorf("%s: got %s %q in the preview, want %q", name, field, got, want)
			}
		}
	}
}

func TestAPreviewReadsNoSecretAndSendsNoTokenRequest(t *testing.T) {
	missing := upstream.EnvSecret("CALLQ_TEST_NOT_SET")
	shown, err := upstream.Preview(upstream.Config{Name: "api", BaseURL: "http://127.0.0.1:1", Auth: upstream.OAuth2(upstream.OAuth2Config{
		TokenURL: "http://127.0.0.1:1/token", ClientID: missing, ClientSecret: missing, Query: map[string]upstream.Secret{"apikey": missing},
	})}, upstream.Request{Path: "/a"})
	if err != nil || shown.Header.Get("Authorization") != "Bearer ***" || shown.URL.RawQuery != "apikey=***" {
		t.Errorf("%v, %v", shown, err)
	}
}
