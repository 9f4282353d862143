package simapi

import (
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// demoScript fails in every way of the API's error reference, save those that stop an account for good. The named paths
// come a fixed number of times in DemoCalls, so that what they show is shown with every seed.
const demoScript = `
# The whole account is asked to wait.
GET /usage/*                      -> http:429 retry-after=2; ok
GET /trend/*                      -> 67200002; ok
# One endpoint is not in the package at first.
shared GET /patent/*/litigation   -> 67200004 x3
# One call with a client that has expired; the answers around it show that the account is well.
GET /patent/*/fulltext            -> 67200006 forever
GET /analysis/*                   -> 68300006 forever
POST /upload/*                    -> 68300010 forever
GET /patent/*/nowhere             -> 67200101 forever

# The caller's mistakes: no use in trying again.
4% * *                            -> 68300004 forever
0.8% GET *                        -> 68300007 forever
0.8% GET *                        -> http:404 forever
0.5% GET *                        -> http:400 forever

# Passing faults.
5% * *                            -> 68300008 x2; ok
1.5% * *                          -> 68300005; ok
0.8% * *                          -> 67200100; ok
0.6% * *                          -> 67200000; ok
1.5% * *                          -> http:503; ok
0.6% * *                          -> http:500; ok
0.6% * *                          -> http:504; ok
1% * *                            -> 68300006; ok
0.6% * *                          -> 68300006 forever
0.6% * *                          -> 68309999; ok
0.4% * *                          -> 68309999 forever
0.4% * *                          -> http:418; ok
0.4% * *                          -> no-code; ok

# Answers that are none.
0.8% * *                          -> html; ok
0.6% * *                          -> empty; ok
0.8% * *                          -> malformed; ok
0.8% * *                          -> cut; ok
0.8% * *                          -> reset; ok
0.6% * *                          -> reset-after; ok
0.6% * *                          -> hang=1500ms; ok

# No failures, but they have to be understood.
5% GET *                          -> ok gzip forever
0.6% GET /search/*                -> redirect:/search/moved forever

# An order that may have been carried out: nobody knows.
POST /order/*                     -> reset-after; ok
`

// DemoSeed is a seed with which the first 500 DemoCalls meet every line of the demonstration's script.
const DemoSeed = 11

// Demo is the API of a demonstration: most calls of DemoCalls succeed, some only after a while, some never, and the quota
// stops everybody for a few seconds now and then. The seed chooses which calls fail, and how. No answer is about the
// account's credential or balance, but for one call's.
func Demo(seed uint64) Config {
	return Config{
		Seed:        seed,
		Script:      MustParseScript(demoScript),
		Latency:     Latency{Min: 20 * time.Millisecond, Max: 120 * time.Millisecond},
		Quota:       Quota{Calls: 240, Window: 6 * time.Second, RetryAfter: true},
		Correlation: "demo",
	}
}

// DemoCall is a call of the demonstration's batch.
type DemoCall struct {
	Key    string            // row-1, row-2, …
	Method string            // GET, or POST for one in ten
	Path   string            // without a query
	Query  map[string]string // nil: none
	Body   string            // JSON, or empty
}

// DemoCalls returns n calls for Demo, the same ones every time, no two to the same target. Some endpoints need n of about
// 100 to be there.
func DemoCalls(n int) []DemoCall {
	topics := []string{"solar cell", "solid-state battery", "heat pump", "mRNA carrier", "lidar", "green hydrogen", "wind blade"}
	calls := make([]DemoCall, n)
	for i := range calls {
		row := i + 1
		c := DemoCall{Key: fmt.Sprintf("row-%d", row), Method: http.MethodGet}
		patent := fmt.Sprintf("/patent/US%d", 10_000_000+row*37)
		page := strconv.Itoa(row)
		switch {
		case row%250 == 60:
			c.Path = "/usage/" + page
		case row == 85:
			c.Path = "/trend/" + page
		case row == 75:
			c.Path = patent + "/fulltext"
		case row%200 == 95:
			c.Path = patent + "/nowhere"
		case row%125 == 40:
			c.Path = "/analysis/" + page
		case row%80 == 30:
			c.Path = patent + "/litigation"
		case row%200 == 50:
			c.Method, c.Path, c.Body = http.MethodPost, "/upload/"+page, `{"file":"figure-`+page+`.tiff"}`
		case row%500 == 160:
			c.Method, c.Path, c.Body = http.MethodPost, "/order/"+page, `{"report":"`+topics[row/10%len(topics)]+`"}`
		case row%10 == 0:
			c.Method, c.Path = http.MethodPost, "/search/semantic"
			c.Query = map[string]string{"page": page}
			c.Body = `{"text":"` + topics[row/10%len(topics)] + `"}`
		case row%3 == 0:
			c.Path = "/search/patent"
			c.Query = map[string]string{"q": topics[row%len(topics)], "page": page}
		case row%3 == 1:
			c.Path = patent + "/basic"
		default:
			c.Path = patent + "/family"
		}
		calls[i] = c
	}
	return calls
}

// apiDemo is the demonstration of an API: calls of which every ${row} is the call's number, made in turn, and the faults
// that meet them.
type apiDemo struct {
	script string
	quota  Quota
	calls  []DemoCall
}

// DemoOf is the demonstration of one of APIs; of DefaultAPI it is Demo. It panics on another name.
func DemoOf(api string, seed uint64) Config {
	table := mustLook(api)
	if table == nil {
		return Demo(seed)
	}
	script, err := ParseScriptFor(api, table.demo.script)
	if err != nil {
		panic("simapi: script: " + err.Error())
	}
	return Config{
		API: api, Seed: seed, Script: script, Quota: table.demo.quota, Correlation: "demo",
		Latency: Latency{Min: 20 * time.Millisecond, Max: 120 * time.Millisecond},
	}
}

// DemoCallsOf returns n calls for DemoOf, the same ones every time.
func DemoCallsOf(api string, n int) []DemoCall {
	table := mustLook(api)
	if table == nil {
		return DemoCalls(n)
	}
	calls := make([]DemoCall, n)
	for i := range calls {
		row := strconv.Itoa(i + 1)
		c := table.demo.calls[i%len(table.demo.calls)]
		c.Key, c.Path, c.Body = "row-"+row, strings.ReplaceAll(c.Path, "${row}", row), strings.ReplaceAll(c.Body, "${row}", row)
		c.Query = maps.Clone(c.Query)
		for name, value := range c.Query {
			c.Query[name] = strings.ReplaceAll(value, "${row}", row)
		}
		calls[i] = c
	}
	return calls
}

func mustLook(name string) *api {
	table, found := lookAPI(name)
	if !found {
		panic("simapi: " + unknownAPI(name).Error())
	}
	return table
}
