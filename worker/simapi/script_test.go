package simapi

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// ask sends a request straight to the handler and returns the answer's name.
func ask(s *Server, method, target string, header ...string) string {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	s.ServeHTTP(httptest.NewRecorder(), r)
	return s.book.entry(s.book.seq).answer
}

func asks(s *Server, method string, targets ...string) string {
	var got []string
	for _, t := range targets {
		got = append(got, ask(s, method, t))
	}
	return strings.Join(got, " ")
}

func TestEachTargetMakesItsOwnWayThroughTheSteps(t *testing.T) {
	s := New(Config{Script: MustParseScript("GET /s -> 1 x2; html; ok")})
	got := asks(s, "GET", "/s?q=a", "/s?q=a", "/s?q=b", "/s?q=a", "/s?q=a", "/s?q=a", "/s?q=b")
	if want := "1 1 1 html ok ok 1"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestASharedLineIsOneWayForAll(t *testing.T) {
	s := New(Config{Script: MustParseScript("shared GET /s* -> 1 x2; 2")})
	if got, want := asks(s, "GET", "/s?q=a", "/s?q=b", "/s/c", "/s?q=a"), "1 1 2 ok"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTheOrderOfTheQueryAndTheApikeyMakeNoOtherTarget(t *testing.T) {
	s := New(Config{Script: MustParseScript("GET /s -> 1; 2; 3")})
	if got, want := asks(s, "GET", "/s?a=1&b=2", "/s?b=2&a=1", "/s?b=2&apikey=k&a=1"), "1 2 3"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTheFirstLineThatMatchesAnswersAlone(t *testing.T) {
	s := New(Config{Script: MustParseScript("GET /a/* -> 1\nGET * -> 2 forever")})
	if got, want := asks(s, "GET", "/a/x", "/a/x", "/b", "/b"), "1 ok 2 2"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestAConditionLooksAtTheQueryThenAtTheHeader(t *testing.T) {
	s := New(Config{Script: MustParseScript("* /s key=row-7* Idempotency-Key=i -> 1 forever")})
	for _, c := range []struct {
		target string
		header []string
		want   string
	}{
		{"/s?key=row-71", []string{"Idempotency-Key", "i"}, "1"},
		{"/s?key=row-8&key=row-7", []string{"Idempotency-Key", "i"}, "1"},
		{"/s", []string{"Key", "row-7", "idempotency-key", "i"}, "1"},
		{"/s?key=row-8", []string{"Key", "row-7", "Idempotency-Key", "i"}, "ok"},
		{"/s?key=row-7", nil, "ok"},
		{"/t?key=row-7", []string{"Idempotency-Key", "i"}, "ok"},
	} {
		if got := ask(s, "POST", c.target, c.header...); got != c.want {
			t.Errorf("%s %v: %s, want %s", c.target, c.header, got, c.want)
		}
	}
}

func TestAShareTakesTheSameTargetsForASeed(t *testing.T) {
	take := func(seed uint64) (taken []int) {
		s := New(Config{Seed: seed, Script: MustParseScript("20% GET * -> 1 forever")})
		for i := range 1000 {
			if ask(s, "GET", fmt.Sprintf("/s?q=%d", i)) == "1" {
				taken = append(taken, i)
			}
		}
		return taken
	}
	one, again, other := take(1), take(1), take(2)
	if !slices.Equal(one, again) {
		t.Error("the same seed took other targets")
	}
	if slices.Equal(one, other) {
		t.Error("another seed took the same targets")
	}
	if len(one) < 150 || len(one) > 250 {
		t.Errorf("a share of 20%% took %d of 1000", len(one))
	}
}

func TestANewScriptStartsEveryTargetAnew(t *testing.T) {
	s := New(Config{})
	for _, c := range []struct{ script, want string }{
		{"GET /s -> 1; 2", "1 2 ok"},
		{"GET /s -> 3; 4", "3 4 ok"},
		{"", "ok ok ok"},
	} {
		if err := s.Script(c.script); err != nil {
			t.Fatal(err)
		}
		if got := asks(s, "GET", "/s", "/s", "/s"); got != c.want {
			t.Errorf("%q: %s, want %s", c.script, got, c.want)
		}
	}
	if err := s.Script("GET"); err == nil {
		t.Error("a broken script was taken")
	}
}
