package upstream_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/worker/upstream"
)

func ExampleClient_Do() {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Correlation-Id", "c0ffee")
		fmt.Fprint(w, `{"status":false,"error_code":67200001.0,"error_msg":"API call exceeds the total limit"}`)
	}))
	defer api.Close()

	pol, err := policy.Preset("patsnap")
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := upstream.New(upstream.Config{
		Policy:  pol,
		Name:    "patsnap",
		BaseURL: api.URL,
		Auth:    upstream.Bearer(upstream.StaticSecret("sk-example")),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()

	a := c.Do(context.Background(), upstream.Request{Path: "/search/patent?q=solar cell"})
	fmt.Println(a.Outcome.Status, a.Outcome.Body, a.Outcome.Flag, a.Outcome.Code)
	fmt.Println(a.Outcome.Message, a.Kept.CorrelationID)

	a = c.Do(context.Background(), upstream.Request{Path: "//elsewhere.example/"})
	fmt.Println(a.NotSent, errors.Is(a.Err, upstream.ErrRefused), a.Err)
	// Output:
	// 200 envelope false 67200001
	// API call exceeds the total limit c0ffee
	// true true upstream patsnap: not sent: request refused: path must not begin with two slashes, which name a host
}

func ExampleClient_Refresh() {
	tokens := 0
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/oauth/token":
			tokens++
			fmt.Fprintf(w, `{"token":"token-%d","expires_in":"1799","status":"approved"}`, tokens)
		case r.Header.Get("Authorization") == "Bearer token-2":
			fmt.Fprint(w, `{"status":true,"error_code":0}`)
		default:
			fmt.Fprint(w, `{"status":false,"error_code":67200003}`)
		}
	}))
	defer api.Close()

	pol, err := policy.Preset("patsnap")
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := upstream.New(upstream.Config{
		Policy: pol,
		Name:   "patsnap", BaseURL: api.URL,
		Auth: upstream.OAuth2(upstream.OAuth2Config{
			TokenURL:     api.URL + "/oauth/token",
			ClientID:     upstream.StaticSecret("client"),
			ClientSecret: upstream.StaticSecret("secret"),
		}),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()

	ctx := context.Background()
	a := c.Do(ctx, upstream.Request{Path: "/"})
	fmt.Println(a.Outcome.Code, c.CanRefresh(a.TokenGeneration))
	fresh, err := c.Refresh(ctx, a.TokenGeneration)
	fmt.Println(fresh, err)
	a = c.Do(ctx, upstream.Request{Path: "/"})
	fmt.Println(a.Outcome.Flag, a.TokenGeneration)
	// Output:
	// 67200003 true
	// true <nil>
	// true 2
}

func ExampleSecret() {
	key := upstream.ConcatSecrets(upstream.StaticSecret("Token "), upstream.StaticSecret("sk-example"))
	fmt.Printf("%v %+v\n", key, upstream.Bearer(key))
	// Output: [redacted] [redacted]
}
