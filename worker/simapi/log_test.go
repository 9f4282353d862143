package simapi

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestEveryCallIsLoggedWithWhatItWasAndGot(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)
	s := New(Config{
		Now: func() time.Time { return now }, Correlation: "c", Token: "sk-1", LogHeaders: []string{"x-extra"},
		Script: MustParseScript("POST * -> 68300008@500"),
	})
	r := httptest.NewRequest("POST", "/a%2Fb?z=1&a=2", strings.NewReader("hello"))
	r.Header.Set("Authorization", "Bearer sk-1")
	r.Header.Set("Idempotency-Key", "row-1")
	r.Header.Set("X-Extra", "yes")
	r.Header.Set("X-Other", "no")
	s.ServeHTTP(httptest.NewRecorder(), r)
	got := fmt.Sprintf("%+v", s.Calls())
	want := fmt.Sprintf("%+v", []Call{{
		Seq: 1, At: now, Method: "POST", Path: "/a%2Fb", Query: "a=2&z=1",
		Headers: map[string]string{"Idempotency-Key": "row-1", "X-Extra": "yes"}, Auth: AuthValid,
		BodyBytes: 5, BodySHA256: "2cf24dba5fb0a30e", Answer: "68300008@500", Status: 500, Correlation: "c-000001", Done: now,
	}})
	if got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

func TestNoCredentialIsLoggedOrRepeated(t *testing.T) {
	s, client, url := serve(t, Config{Token: "secret-1", APIKey: "secret-2", OAuth: OAuth{ClientID: "id", ClientSecret: "secret-3"}})
	issued := askToken(s, "id", "secret-3", true).Body.String()
	issued = strings.Split(strings.Split(issued, `"token":"`)[1], `"`)[0]
	var seen strings.Builder
	for _, token := range []string{"secret-1", "secret-4", issued} {
		w := get(s, "/x?apikey=secret-2&Access_Token=secret-5&mine=secret-1&other=secret-3&more="+issued, token)
		seen.WriteString(w.Body.String())
	}
	for _, path := range []string{"/_sim/stats", "/_sim/calls"} {
		seen.Write(call(t, client, "GET", url+path, "").body)
	}
	fmt.Fprintf(&seen, "%+v %+v", s.Calls(), s.Stats())
	if text := seen.String(); strings.Contains(text, "secret-") || strings.Contains(text, issued) || !strings.Contains(text, "apikey") {
		t.Errorf("a credential shows in:\n%s", text)
	}
	for _, c := range s.Calls() {
		if c.Path == tokenPath && c.BodySHA256 != "" {
			t.Error("the digest of a token request's body is kept")
		}
	}
}

func TestTheLogKeepsTheNewestCallsAndCountsTheRest(t *testing.T) {
	s := New(Config{LogCap: 3})
	for i := range 8 {
		get(s, fmt.Sprintf("/%d", i), "")
	}
	if got := paths(s); got != "/5 /6 /7" {
		t.Error(got)
	}
	if st := s.Stats(); st.LogDropped != 5 || st.Arrivals != 8 || len(st.ByPath) != 8 {
		t.Errorf("%+v", st)
	}
	if n := s.ArrivalsSince(time.Time{}.Add(1)); n != 3 {
		t.Errorf("%d since ever", n)
	}
}

func paths(s *Server) string {
	var out []string
	for _, c := range s.Calls() {
		out = append(out, c.Path)
	}
	return strings.Join(out, " ")
}

func TestAResetForgetsEverythingButScriptAndTokens(t *testing.T) {
	s := New(Config{
		Script: MustParseScript("GET /s -> 1"), Token: "sk", Quota: Quota{Calls: 2, Window: time.Hour}, Balance: Balance{Credit: 1, PerCall: 1},
	})
	for range 2 {
		for _, want := range []string{"1", "ok", "67200001"} {
			get(s, "/s", "sk")
			if got := s.book.entry(s.book.seq).answer; got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
		s.Reset()
		if st := s.Stats(); st.Arrivals != 0 || len(st.ByAnswer) != 0 || st.Charged != 0 || len(s.Calls()) != 0 {
			t.Errorf("%+v", st)
		}
	}
	get(s, "/s", "sk")
	if got := s.Calls(); len(got) != 1 || got[0].Seq != 7 {
		t.Errorf("sequence numbers start over: %+v", got)
	}
}

func TestACallThatEndsAfterAResetDisturbsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{Script: MustParseScript("GET /slow -> latency=1s")})
		var running sync.WaitGroup
		running.Go(func() { get(s, "/slow", "") })
		synctest.Wait()
		s.Reset()
		get(s, "/x", "")
		running.Wait()
		if st := s.Stats(); st.InFlight != 0 || st.Arrivals != 1 || st.MaxConcurrent != 2 || paths(s) != "/x" {
			t.Errorf("%+v, %s", st, paths(s))
		}
	})
}

func TestTheMostCallsAtOnceAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{Latency: Latency{Min: time.Second}})
		var running sync.WaitGroup
		for range 7 {
			running.Go(func() { get(s, "/x", "") })
		}
		synctest.Wait()
		if st := s.Stats(); st.InFlight != 7 || st.Arrivals != 7 {
			t.Errorf("%+v", st)
		}
		running.Wait()
		get(s, "/x", "")
		if st := s.Stats(); st.InFlight != 0 || st.MaxConcurrent != 7 || st.Last.Sub(st.First) != time.Second {
			t.Errorf("%+v", st)
		}
		if n := s.ArrivalsSince(s.Stats().Last); n != 1 {
			t.Errorf("%d since the last", n)
		}
	})
}

func TestWaitForReturnsAtTheChangeOrWithTheContextsCause(t *testing.T) {
	s := New(Config{})
	done := make(chan error, 2)
	for range 2 {
		go func() { done <- s.WaitFor(t.Context(), func(st Stats) bool { return st.ByPath["/x"] == 100 }) }()
	}
	var running sync.WaitGroup
	for range 100 {
		running.Go(func() { get(s, "/x", "") })
	}
	running.Wait()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if err := s.WaitFor(ctx, func(Stats) bool { return false }); !errors.Is(err, why) || !strings.Contains(err.Error(), "100 arrivals") {
		t.Errorf("%v", err)
	}
}

func TestPathsWithoutEndAreFolded(t *testing.T) {
	s := New(Config{LogCap: 1})
	for i := range maxPaths + 5 {
		get(s, fmt.Sprintf("/%d", i), "")
	}
	get(s, "/1", "")
	if st := s.Stats(); len(st.ByPath) != maxPaths+1 || st.ByPath[otherPaths] != 5 || st.ByPath["/1"] != 2 {
		t.Errorf("%d paths, %d folded, %d", len(st.ByPath), st.ByPath[otherPaths], st.ByPath["/1"])
	}
}
