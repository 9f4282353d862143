package upstream

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestAnAnswerReportsWhetherItsRequestCarriedAPrecondition(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) }))
	t.Cleanup(server.Close)
	c, err := New(Config{Name: "up", BaseURL: server.URL, Auth: Auth{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	for name, want := range map[string]bool{
		"If-None-Match": true, "If-Modified-Since": true, "If-Match": true, "If-Unmodified-Since": true, "If-Range": true,
		"if-none-match": true, "If-Other": false, "Accept": false,
	} {
		a := c.Do(context.Background(), Request{Path: "/", Header: http.Header{name: {`"x"`}}})
		if a.Outcome.Status != http.StatusNotModified || a.Conditional != want {
			t.Errorf("%s: status %d, conditional %v, want %v", name, a.Outcome.Status, a.Conditional, want)
		}
	}
}
