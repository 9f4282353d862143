package upstream

import (
	"net/http"
	"path/filepath"
	"testing"

	"github.com/seed-2903acc3/callq/policy"
)

func TestEachKindOfCredentialIsSent(t *testing.T) {
	tests := []struct {
		name   string
		auth   Auth
		header string
		want   string
		query  string
	}{
		{"none", Auth{}, "Authorization", "", "q=1"},
		{"bearer", Bearer(StaticSecret(hidden)), "Authorization", "Bearer " + hidden, "q=1"},
		{"basic", Basic(StaticSecret("user"), StaticSecret("p\u00e4ss:word")), "Authorization", "Basic dXNlcjpww6Rzczp3b3Jk", "q=1"},
		{"header", Header("x-api-key", StaticSecret(hidden)), "X-Api-Key", hidden, "q=1"},
		{"cookie", Header("Cookie", StaticSecret("sid="+hidden)), "Cookie", "sid=" + hidden, "q=1"},
		{"query", Query("api key", StaticSecret("a&b=c")), "Authorization", "", "q=1&api+key=a%26b%3Dc"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got *http.Request
			s := serve(t, func(_ http.ResponseWriter, r *http.Request) { got = r })
			c := newClient(t, s.URL, func(cfg *Config) { cfg.Auth = tt.auth })
			a := c.Do(within(t), Request{Path: "/?q=1"})
			if a.Err != nil {
				t.Fatal(a.Err)
			}
			if got.Header.Get(tt.header) != tt.want || got.URL.RawQuery != tt.query {
				t.Errorf("got %s %q and query %q, want %q and %q", tt.header, got.Header.Get(tt.header), got.URL.RawQuery, tt.want, tt.query)
			}
			if a.TokenGeneration != 1 {
				t.Errorf("got generation %d, want 1", a.TokenGeneration)
			}
			if c.CanRefresh(a.TokenGeneration) {
				t.Error("CanRefresh is true for a credential that has not changed")
			}
		})
	}
}

func TestACredentialFromAFileCanBeRefreshedAfterTheFileHasChanged(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	writeFile(t, file, "key-number-one\n")
	var got string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("Authorization")
		w.WriteHeader(http.StatusUnauthorized)
	})
	c := newClient(t, s.URL, func(cfg *Config) { cfg.Auth = Bearer(FileSecret(file)) })
	a := c.Do(within(t), Request{Path: "/"})
	if got != "Bearer key-number-one" || a.TokenGeneration != 1 {
		t.Fatalf("%q, generation %d", got, a.TokenGeneration)
	}
	if fresh, err := c.Refresh(within(t), a.TokenGeneration); fresh || err != nil || c.CanRefresh(a.TokenGeneration) {
		t.Errorf("got fresh %v, %v without a change, want false", fresh, err)
	}
	writeFile(t, file, "key-number-two\n")
	if !c.CanRefresh(a.TokenGeneration) {
		t.Error("CanRefresh is false after a change of the file")
	}
	if fresh, err := c.Refresh(within(t), a.TokenGeneration); !fresh || err != nil {
		t.Errorf("fresh %v, %v", fresh, err)
	}
	a = c.Do(within(t), Request{Path: "/"})
	if got != "Bearer key-number-two" || a.TokenGeneration != 2 || c.CanRefresh(a.TokenGeneration) {
		t.Errorf("%q, generation %d", got, a.TokenGeneration)
	}
	if a.Outcome.Status != 401 {
		t.Errorf("%+v", a.Outcome)
	}
}

func TestAKeyWithALineBreakIsAnAuthError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	writeFile(t, file, hidden)
	s := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("the call was sent") })
	c := newClient(t, s.URL, func(cfg *Config) { cfg.Auth = Bearer(FileSecret(file)) })
	writeFile(t, file, hidden+"\nsecond line")
	a := c.Do(within(t), Request{Path: "/"})
	if a.NotSent || a.Outcome.Status != 401 || a.Outcome.Transport != policy.TransportNone || a.Err == nil || a.Outcome.ReceivedAt.IsZero() {
		t.Errorf("%+v", a)
	}
}

func TestSetParamReplacesAParameterWithTheSameName(t *testing.T) {
	for raw, want := range map[string]string{
		"":                   "k=s%26",
		"a=1&k=x&b=%zz":      "a=1&b=%zz&k=s%26",
		"%6B=x&k&&kk=1&a+b=": "kk=1&a+b=&k=s%26",
	} {
		if got := setParam(raw, param{"k", "s&"}); got != want {
			t.Errorf("setParam(%s) = %s, want %s", raw, got, want)
		}
	}
}
