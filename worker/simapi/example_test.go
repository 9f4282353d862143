package simapi_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/worker/simapi"
)

// fetch returns an answer's status and body on one line.
func fetch(url string) string {
	resp, err := http.Get(url)
	if err != nil {
		return "no answer"
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "cut off"
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, strings.TrimSpace(string(body)))
}

func ExampleNew() {
	sim := simapi.New(simapi.Config{Script: simapi.MustParseScript(`GET /patent/* -> 68300008; http:503; cut; ok`)})
	web := httptest.NewServer(sim)
	defer web.Close()
	defer func() { _ = sim.Close() }()

	for range 4 {
		fmt.Println(fetch(web.URL + "/patent/US7"))
	}
	// Output:
	// 200 {"status":false,"error_code":68300008,"error_msg":"Service error, please try again later!"}
	// 503 503 Service Unavailable
	// cut off
	// 200 {"status":true,"error_code":0,"error_msg":"","data":{"method":"GET","path":"/patent/US7","query":{},"body":null}}
}

func ExampleParseScript() {
	_, err := simapi.ParseScript("GET /a -> ok\nGET /b -> 68300008 twice")
	fmt.Println(err)
	// Output:
	// line 2: step 1: unknown answer "twice"; want ok, an error code, no-code, http:STATUS, html, empty, malformed, cut, body=TEXT, big=SIZE, redirect:TARGET, hang, reset or reset-after
}

func ExampleServer_Script() {
	sim := simapi.New(simapi.Config{})
	web := httptest.NewServer(sim)
	defer web.Close()

	if err := sim.Script(`* * -> no-code message="one moment"`); err != nil {
		fmt.Println(err)
	}
	fmt.Println(fetch(web.URL + "/a"))
	// Output:
	// 200 {"status":false,"error_msg":"one moment"}
}

func ExampleServer_Calls() {
	sim := simapi.New(simapi.Config{Correlation: "req"})
	web := httptest.NewServer(sim)
	defer web.Close()

	fetch(web.URL + "/a?q=1")
	fetch(web.URL + "/b")
	for _, c := range sim.Calls() {
		fmt.Println(c.Correlation, c.Method, c.Path, c.Query, c.Answer)
	}
	// Output:
	// req-000001 GET /a q=1 ok
	// req-000002 GET /b  ok
}

func ExampleServer_SetQuota() {
	sim := simapi.New(simapi.Config{})
	web := httptest.NewServer(sim)
	defer web.Close()

	sim.SetQuota(simapi.Quota{Calls: 2, Window: time.Hour})
	for range 5 {
		fetch(web.URL + "/a")
	}
	st := sim.Stats()
	fmt.Println(st.Arrivals, "arrived,", st.ByAnswer["ok"], "answered,", st.ByAnswer["67200001"], "refused")
	// Output:
	// 5 arrived, 2 answered, 3 refused
}

func ExampleServer_WaitFor() {
	sim := simapi.New(simapi.Config{Script: simapi.MustParseScript(`GET /slow -> hang`)})
	web := httptest.NewServer(sim)
	defer web.Close()

	answer := make(chan string)
	go func() { answer <- fetch(web.URL + "/slow") }()
	err := sim.WaitFor(context.Background(), func(st simapi.Stats) bool { return st.ByAnswer["hang"] == 1 })
	fmt.Println(err, sim.Stats().InFlight)
	_ = sim.Close()
	fmt.Println(<-answer)
	// Output:
	// <nil> 1
	// no answer
}

func ExampleDemo() {
	sim := simapi.New(simapi.Demo(simapi.DemoSeed))
	web := httptest.NewServer(sim)
	defer web.Close()

	calls := simapi.DemoCalls(500)
	fmt.Println(len(calls), calls[0].Key, calls[0].Method, fetch(web.URL+calls[0].Path))
	// Output:
	// 500 row-1 GET 200 {"status":true,"error_code":0,"error_msg":"","data":{"method":"GET","path":"/patent/US10000037/basic","query":{},"body":null}}
}

func ExampleDemoCalls() {
	for _, c := range simapi.DemoCalls(10)[8:] {
		fmt.Printf("%s %s %s %v %q\n", c.Key, c.Method, c.Path, c.Query, c.Body)
	}
	// Output:
	// row-9 GET /search/patent map[page:9 q:heat pump] ""
	// row-10 POST /search/semantic map[page:10] "{\"text\":\"solid-state battery\"}"
}
