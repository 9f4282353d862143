package api_test

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/admin/api"
	"github.com/seed-2903acc3/callq/worker/baseurl"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/jsonform"
)

// contractRoutes are the routes that programs outside rely on.
var contractRoutes = []string{
	"POST /v1/calls", "POST /v1/batches", "GET /v1/batches", "GET /v1/batches/{name}", "GET /v1/batches/{name}/results",
	"GET /v1/calls/{id}", "GET /v1/dead/groups", "GET /v1/dead", "POST /v1/dead/redrive", "GET /v1/circuits",
	"POST /v1/circuits/{name}/open", "POST /v1/circuits/{name}/close", "GET /v1/openapi.json", "GET /v1/batches/{name}/events",
}

func TestTheDocumentHasEveryRouteAndNoOther(t *testing.T) {
	var described, served []string
	for path, item := range document(t).Paths.Map() {
		for method, op := range item.Operations() {
			described = append(described, method+" "+path)
			if op.Summary == "" || op.Description == "" || op.Responses.Status(401) == nil || op.Responses.Status(503) == nil {
				t.Errorf("%s %s is not fully described", method, path)
			}
		}
	}
	for _, r := range api.New(api.Config{}).Routes() {
		if r.Pattern != "/v1/circuits/{rest...}" { // the same as two others, for names that are not encoded
			served = append(served, r.Method+" "+r.Pattern)
		}
	}
	want := slices.Clone(contractRoutes)
	for _, list := range [][]string{want, described, served} {
		slices.Sort(list)
	}
	if !slices.Equal(described, want) || !slices.Equal(served, want) {
		t.Errorf("the document has\n%v\nthe server has\n%v\nwant\n%v", described, served, want)
	}
}

func TestTheServedDocumentIsTheOneThatIsPrinted(t *testing.T) {
	rdb, _ := redistest.Mini(t)
	s := serve(t, rdb)
	want, err := api.Document()
	if err != nil {
		t.Fatal(err)
	}
	if got := s.ask("GET", "/v1/openapi.json", ""); got.status != http.StatusOK || got.body != string(want) {
		t.Errorf("got %d, %d bytes, want %d", got.status, len(got.body), len(want))
	}
}

func TestACallIsEnqueuedOnceForEachKey(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		s := serve(t, rdb)
		const call = `{"upstream":"sim","path":"/x","query":{"q":"solar cell","n":1.50}}`
		first := s.ask("POST", "/v1/calls", call)
		s.want(first, http.StatusAccepted, `"duplicate":false`)
		receipt := decode[jsonform.Receipt](s, first)
		if receipt.Batch != tasks.DefaultBatch || receipt.ID != tasks.TaskID(receipt.Batch, receipt.Key) || first.header.Get("Location") != "/v1/calls/"+receipt.ID {
			t.Errorf("got %+v, Location %q", receipt, first.header.Get("Location"))
		}
		if again := decode[jsonform.Receipt](s, s.ask("POST", "/v1/calls", call)); again.ID == receipt.ID {
			t.Error("a call without a key that is sent again is not a new call")
		}
		s.want(s.ask("POST", "/v1/calls", call, header("Idempotency-Key", "k")), http.StatusAccepted, `"key":"k","duplicate":false`)
		s.want(s.ask("POST", "/v1/calls", call, header("Idempotency-Key", `"k"`)), http.StatusAccepted, `"key":"k","duplicate":true`)
		s.want(s.ask("POST", "/v1/calls", `{"key":"own","upstream":"sim","path":"/x"}`, header("Idempotency-Key", "k")), http.StatusAccepted, `"key":"own"`)
		s.want(s.ask("POST", "/v1/calls", `{"key":7,"batch":"b/c","upstream":"sim","path":"/x"}`), http.StatusAccepted, `"batch":"b/c","key":"7"`)
		s.want(s.ask("POST", "/v1/calls", `{"upstream":"sim","path":"/y"}`, header("Idempotency-Key", "k")), http.StatusUnprocessableEntity, "already the key of a different call; choose another key")
		counts := decode[jsonform.Batch](s, s.ask("GET", "/v1/batches/adhoc", ""))
		if counts.Accepted != 4 {
			t.Errorf("got %+v, want 4 calls", counts)
		}
		s.want(s.ask("GET", "/v1/batches/b%2Fc", ""), http.StatusOK, `"accepted":1`)
	})
}

func TestAWrongCallIsAProblemThatSaysWhatToDo(t *testing.T) {
	rdb, _ := redistest.Mini(t)
	s := serve(t, rdb)
	large := `{"upstream":"sim","path":"/x","body":"` + strings.Repeat("x", 400<<10) + `"}`
	for _, c := range []struct {
		body   string
		change request
		status int
		text   string
	}{
		{`{"upstream":"sim"}`, nil, 422, `field \"path\" is missing`},
		{`{"upstream":"sim","path":"x"}`, nil, 422, `field \"path\" must begin with`},
		{`{"upstream":"none","path":"/x"}`, nil, 422, `upstream`},
		{`{"path":"/x"}`, nil, 422, `upstream`},
		{`{"upstream":"sim","pth":"/x"}`, nil, 422, `pth`},
		{`{"upstream":"sim","path":"/x","priority":"urgent"}`, nil, 422, `priority`},
		{`{"upstream":"sim","path":"/x","body":"` + strings.Repeat("x", 65<<10) + `"}`, nil, 422, `body`},
		{`{"upstream":"sim","method":"JOB","path":"/x"}`, nil, 422, `method`},
		{`{`, nil, 400, "the body ends before its JSON object is complete"},
		{`[]`, nil, 400, "the body is an array, not an object"},
		{"{\"path\":\"/x\"}\n{\"path\":\"/y\"}", nil, 400, "has more text after its JSON object"},
		{large, nil, 413, "the body has more than"},
		{`{"path":"/x"}`, header("Content-Type", "text/plain"), 415, "send the header Content-Type: application/json"},
		{`{"path":"/x"}`, header("Content-Encoding", "gzip"), 415, "send it uncompressed"},
		{`{"path":"/x"}`, header("Idempotency-Key", ""), 400, "the header Idempotency-Key is empty"},
		{`{"path":"/x"}`, func(r *http.Request) { r.Header["Idempotency-Key"] = []string{"a", "b"} }, 400, "several headers Idempotency-Key"},
		{`{"path":"/x"}`, func(r *http.Request) { r.URL.RawQuery = "batch=b" }, 422, `there is no query parameter \"batch\"`},
	} {
		change := c.change
		if change == nil {
			change = func(*http.Request) {}
		}
		got := s.ask("POST", "/v1/calls", c.body, change)
		s.want(got, c.status, c.text)
		if got.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%.60s: the type is %s", c.body, got.header.Get("Content-Type"))
		}
	}
	s.want(s.ask("POST", "/v1/calls", ""), 400, "the body ends before its JSON object is complete")
}

func TestUnknownRoutesAndMethodsAreProblems(t *testing.T) {
	rdb, _ := redistest.Mini(t)
	s := serve(t, rdb)
	s.want(s.ask("GET", "/v1/nothing", ""), 404, "there is no route /v1/nothing; GET /v1/openapi.json")
	s.want(s.ask("GET", "/v1/batches/none", ""), 404, "there is no such batch")
	s.want(s.ask("GET", "/v1/batches/none/results", ""), 404, "there is no such batch")
	s.want(s.ask("GET", "/v1/batches/none/events", ""), 404, "there is no such batch")
	s.want(s.ask("GET", "/v1/calls/none", ""), 404, "there is no call with this id")
	got := s.ask("DELETE", "/v1/batches", "")
	s.want(got, 405, "/v1/batches cannot be used with DELETE; use GET, HEAD, POST")
	if got.header.Get("Allow") != "GET, HEAD, POST" {
		t.Errorf("Allow is %q", got.header.Get("Allow"))
	}
	for path, text := range map[string]string{
		"/v1/batches?limit=0": "query.limit: expected number >= 1", "/v1/batches?limit=x": "query.limit", "/v1/batches?limt=1": "query.limt: unknown query parameter",
		"/v1/batches?after=gone": "begin again without after", "/v1/dead?after=gone": "after is not a position", "/v1/dead?limit=1001": "query.limit",
		"/v1/batches/none/results?after=x": "is not a cursor", "/v1/batches/none/results?state=open": "query.state",
	} {
		s.want(s.ask("GET", path, ""), 422, text)
	}
}

func TestLinesOfABatchAreAcceptedAndRefusedOneByOne(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		s := serve(t, rdb)
		good, other := `{"key":"a","upstream":"sim","path":"/a"}`, `{"key":"a","upstream":"sim","path":"/other"}`
		s.want(s.lines("b", good, "", "no json", other, `{"upstream":"sim","path":"/c"}`, `{"upstream":"sim","path":"/c"}`, `{"upstream":"sim","path":"/c","batch":"x"}`),
			http.StatusAccepted, `"batch":"b","accepted":2,"duplicate":1,"refused":3,"errors":[{"line":3,`)
		got := s.lines("b", good, other)
		s.want(got, http.StatusAccepted, `"accepted":0,"duplicate":1,"refused":1`)
		if got.header.Get("Location") != "/v1/batches/b" {
			t.Errorf("Location is %q", got.header.Get("Location"))
		}
		sent := decode[api.Sent](s, got)
		if len(sent.Errors) != 1 || sent.Errors[0].Line != 2 || !strings.Contains(sent.Errors[0].Error, `"a" is already the key of a different call`) {
			t.Errorf("got %+v", sent)
		}
		got = s.lines("none", "x", other[1:])
		s.want(got, 422, `"batch":"none","accepted":0,"duplicate":0,"refused":2,"errors":[{"line":1,"error":"`)
		if got.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("the type is %s", got.header.Get("Content-Type"))
		}
		s.want(s.ask("GET", "/v1/batches/none", ""), 404, "no such batch")
		s.want(s.lines("b", ""), 422, "the body has no lines")
		s.want(s.lines("b", "\xef\xbb\xbf"+good+"\r"), http.StatusAccepted, `"duplicate":1`)
		s.want(s.lines("", good), 422, "the name of the batch is missing")
		s.want(s.lines("a{b", good), 422, "is not a valid name of a batch")
		s.want(s.ask("POST", "/v1/batches?name=b", good), 415, "send the header Content-Type: application/x-ndjson")
		s.want(s.ask("POST", "/v1/batches?name=b&x=1", good), 422, `there is no query parameter \"x\"`)
	})
}

func TestTheFirstThousandRefusalsAreNamedAndAllAreCounted(t *testing.T) {
	s := serve(t, redistest.Redis(t).Client)
	lines := []string{`{"upstream":"sim","path":"/x"}`}
	for range 2500 {
		lines = append(lines, "{}")
	}
	sent := decode[api.Sent](s, s.lines("b", lines...))
	if sent.Accepted != 1 || sent.Refused != 2500 || len(sent.Errors) != 1000 || sent.Errors[0].Line != 2 || sent.Errors[999].Line != 1001 {
		t.Errorf("got %d accepted, %d refused, %d errors", sent.Accepted, sent.Refused, len(sent.Errors))
	}
}

func TestCallsForAnotherAPIAreNotAddedToABatch(t *testing.T) {
	rdb, _ := redistest.Mini(t)
	s := serve(t, rdb)
	const call = `{"key":"k","batch":"b","upstream":"sim","path":"/x"}`
	s.want(s.ask("POST", "/v1/calls", call), http.StatusAccepted, "")
	cfg := configOf(t, rdb)
	cfg.BaseURLs = baseurl.Set{"sim": "https://sandbox.example"}
	moved := serveConfig(t, cfg)
	moved.want(moved.ask("POST", "/v1/calls", call), http.StatusConflict, "send the calls as another batch")
	moved.want(moved.lines("b", `{"key":"k2","upstream":"sim","path":"/x"}`), http.StatusConflict, "https://sandbox.example")
	moved.want(moved.lines("c", `{"key":"k2","upstream":"sim","path":"/x"}`), http.StatusAccepted, "")
}

var nextLink = regexp.MustCompile(`^<([^>]+)>; rel="next"$`)

// pages reads a list page by page.
func pages[T any](s *server, path string) (all []T, n int) {
	for path != "" {
		got := s.ask("GET", path, "")
		s.want(got, http.StatusOK, "")
		all = append(all, decode[[]T](s, got)...)
		n++
		path = ""
		if m := nextLink.FindStringSubmatch(got.header.Get("Link")); m != nil {
			path = m[1]
		}
	}
	return all, n
}

func TestBatchesAreListedByPagesTheNewestFirst(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		s := serve(t, rdb)
		s.want(s.ask("GET", "/v1/batches", ""), http.StatusOK, "[]")
		for i := range 7 {
			name := fmt.Sprintf("b %d/%%", i)
			s.batch(name, 1)
			// Several batches of one millisecond are in the order of their names.
			rdb.ZAdd(t.Context(), "callq:batches", redis.Z{Score: float64(1000 + i), Member: name})
		}
		got, n := pages[jsonform.Batch](s, "/v1/batches?limit=3")
		if len(got) != 7 || n != 3 || got[0].Batch != "b 6/%" || got[6].Batch != "b 0/%" || got[0].CreatedAt.IsZero() || got[0].Accepted != 1 {
			t.Errorf("got %d pages, %+v", n, got)
		}
	})
}

func TestABatchSaysWhyItsCallsWait(t *testing.T) {
	rdb, _ := redistest.Mini(t)
	s := serve(t, rdb)
	s.batch("b", 2)
	got := s.ask("GET", "/v1/batches/b", "")
	s.want(got, http.StatusOK, `"accepted":2,"open":2,"done":0,"dead":0,"dropped":0,"cancelled":0`)
	s.want(got, http.StatusOK, `"waits":[{"kind":"no_worker","name":"sim","calls":2`)
}

func TestACallIsReadWithItsAttempts(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		s := serve(t, rdb)
		s.batch("b", 2)
		open := tasks.TaskID("b", "1")
		s.want(s.ask("GET", "/v1/calls/"+open, ""), http.StatusOK, `"state":"open"`)
		s.end(ledger.Dead)
		id := tasks.TaskID("b", "0")
		got := s.ask("GET", "/v1/calls/"+id, "")
		s.want(got, http.StatusOK, `"state":"dead","class":"balance","rule":"balance","http_status":402,"error_code":67200005`)
		s.want(got, http.StatusOK, `"log":[{"at":`)
		s.want(got, http.StatusOK, `"body":{"key":"0"},"group":"`)
		s.want(s.ask("POST", "/v1/dead/redrive", `{"ids":["`+id+`"]}`), http.StatusOK, `"redriven":1`)
		s.want(s.ask("GET", "/v1/calls/"+id, ""), http.StatusOK, `"lineage":[{"generation":1,"state":"dead"`)
	})
}

func TestDeadLettersAreListedByPagesAndFilters(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		s := serve(t, rdb)
		s.want(s.ask("GET", "/v1/dead", ""), http.StatusOK, "[]")
		s.want(s.ask("GET", "/v1/dead/groups", ""), http.StatusOK, "[]")
		s.batch("b", 5)
		s.batch("c", 2)
		for range 7 {
			s.end(ledger.Dead)
		}
		type letter struct{ Key, Batch, Group string }
		got, n := pages[letter](s, "/v1/dead?limit=2")
		if len(got) != 7 || n != 4 || got[0].Key != "0" || got[6].Batch != "c" {
			t.Errorf("got %d pages, %+v", n, got)
		}
		groups := decode[[]map[string]any](s, s.ask("GET", "/v1/dead/groups", ""))
		if len(groups) != 1 || groups[0]["count"] != 7.0 || groups[0]["error_code"] != 67200005.0 || groups[0]["group"] != got[0].Group {
			t.Fatalf("got %v", groups)
		}
		for query, want := range map[string]int{
			"group=" + got[0].Group: 7, "group=none": 0, "batch=c": 2, "batch=b&class=balance": 5, "class=quota": 0, "code=67200005": 7, "code=none": 0,
			"upstream=sim&limit=3": 7, "upstream=other": 0, "endpoint=" + url.QueryEscape("GET /x"): 7, "status=402": 7,
		} {
			if got, _ := pages[letter](s, "/v1/dead?"+query); len(got) != want {
				t.Errorf("%s: got %d dead letters, want %d", query, len(got), want)
			}
		}
	})
}

func TestDeadLettersAreRedrivenByIDGroupFilterOrAll(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		s := serve(t, rdb)
		s.batch("b", 6)
		for range 6 {
			s.end(ledger.Dead)
		}
		group := tasks.DeadGroupName("balance", "67200005", "GET /x")
		s.want(s.ask("POST", "/v1/dead/redrive", `{"all":true,"dry_run":true}`), 200, `"dry_run":true,"selected":6,"groups":[{"group":"`+group+`","count":6`)
		s.want(s.ask("POST", "/v1/dead/redrive", `{"filter":{"batch":"none"},"dry_run":true}`), 200, `"selected":0,"groups":[],"more":false`)
		got := s.ask("POST", "/v1/dead/redrive", `{"ids":["`+tasks.TaskID("b", "0")+`","unknown"]}`)
		s.want(got, 200, `"selected":2,"redriven":1,"moved_on":0,"failed":1,"errors":[{"id":"unknown","error":"there is no call with this id`)
		s.want(s.ask("POST", "/v1/dead/redrive", `{"ids":["`+tasks.TaskID("b", "0")+`"]}`), 200, "the call is open already")
		s.want(s.ask("POST", "/v1/dead/redrive", `{"filter":{"key":"1"},"rate":"1000/s"}`), 200, `"redriven":1`)
		s.want(s.ask("POST", "/v1/dead/redrive", `{"filter":{"key":"2","code":67200005,"status":"402"}}`), 200, `"redriven":1`)
		s.want(s.ask("POST", "/v1/dead/redrive", `{"all":true,"before":"2020-01-01T00:00:00Z"}`), 200, `"selected":0,"redriven":0`)
		s.want(s.ask("POST", "/v1/dead/redrive", `{"group":"`+group+`"}`), 200, `"selected":3,"redriven":3,"moved_on":0,"failed":0,"errors":[],"more":false,"before":"`)
		s.want(s.ask("POST", "/v1/dead/redrive", `{"all":true}`), 200, `"selected":0`)
		for body, text := range map[string]string{
			`{}`: "exactly one of ids, group, filter and all", `{"all":true,"group":"x"}`: "exactly one of", `{"filter":{}}`: "filter is empty",
			`{"all":true,"rate":"fast"}`: "write a number and a unit of time", `{"al":true}`: "body.al: unexpected property", `{"ids":[]}`: "body.ids: expected array length >= 1",
		} {
			s.want(s.ask("POST", "/v1/dead/redrive", body), 422, text)
		}
		s.want(s.ask("POST", "/v1/dead/redrive", "{"), 400, "body: ")
		s.want(s.ask("POST", "/v1/dead/redrive", "", header("Content-Type", "application/json")), 400, "request body is required")
		s.want(s.ask("POST", "/v1/dead/redrive", `{"all":true}`, header("Content-Type", "text/csv")), 415, "")
		s.want(s.ask("POST", "/v1/dead/redrive", `{"group":"`+strings.Repeat("x", 1<<20)+`"}`), 413, "too large")
		if b, err := s.ledger.Batch(t.Context(), "b"); err != nil || b.Counts.Open != 6 {
			t.Errorf("got %+v, %v", b.Counts, err)
		}
	})
}

func TestCircuitsAreListedOpenedAndClosed(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		s := serve(t, rdb)
		s.want(s.ask("GET", "/v1/circuits", ""), 200, `"name":"sim","upstream":"sim","endpoint":"","state":"closed"`)
		s.want(s.ask("POST", "/v1/circuits/sim/open", `{"for":"2h","reason":"invoice unpaid"}`), 200, `"state":"open","until":"`)
		const endpoint = "/v1/circuits/sim~GET~%2Fsearch%2F*"
		s.want(s.ask("POST", endpoint+"/open", `{"until":"`+time.Now().Add(time.Hour).Format(time.RFC3339)+`","reason":"broken"}`), 200,
			`"name":"sim~GET~/search/*","upstream":"sim","endpoint":"GET /search/*","state":"open"`)
		s.want(s.ask("GET", "/v1/circuits", ""), 200, `"note":"broken"`)
		s.want(s.ask("POST", endpoint+"/close", `{"reason":"mended"}`), 200, `"state":"closed"`)
		s.want(s.ask("POST", "/v1/circuits/sim/close", `{"reason":"paid"}`), 200, `"state":"closed"`)
		r, err := s.cfg.Circuits.Get(t.Context(), circuit.Name{Upstream: "sim"})
		if err != nil || r.Who != "this machine" || r.Note != "paid" {
			t.Errorf("the record is %+v, %v", r, err)
		}
		for path, c := range map[string]struct {
			body   string
			status int
			text   string
		}{
			"/v1/circuits/none/close":       {`{"reason":"r"}`, 404, `there is no upstream \"none\"`},
			"/v1/circuits/sim~GET/close":    {`{"reason":"r"}`, 422, "write NAME, or NAME~METHOD~/path"},
			"/v1/circuits/sim/close":        {`{"reason":" "}`, 422, "reason is empty"},
			"/v1/circuits/other/close":      {`{}`, 422, "body: expected required property reason to be present"},
			"/v1/circuits/sim/open":         {`{"reason":"r"}`, 422, "give either for"},
			"/v1/circuits/other/open":       {`{"reason":"r","for":"2h","until":"2030-01-01T00:00:00Z"}`, 422, "give either for"},
			"/v1/circuits/sim~GET~%2F/open": {`{"reason":"r","for":"soon"}`, 422, "write a time between 1s and a year"},
			"/v1/circuits/sim~PUT~%2F/open": {`{"reason":"r","until":"2020-01-01T00:00:00Z"}`, 422, "until must be in the future"},
		} {
			s.want(s.ask("POST", path, c.body), c.status, c.text)
		}
	})
}

// A client that leaves / in the name as it is gets the same answer. It is not in the
// document.
func TestANameOfACircuitMayHaveItsSlashesUnencoded(t *testing.T) {
	rdb, _ := redistest.Mini(t)
	s := serve(t, rdb)
	ask := func(path, body string) int {
		r, err := http.NewRequestWithContext(t.Context(), "POST", s.url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		w, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Body.Close()
		return w.StatusCode
	}
	if status := ask("/v1/circuits/sim~GET~/search/*/open", `{"for":"1h","reason":"r"}`); status != http.StatusOK {
		t.Errorf("got %d", status)
	}
	if r, err := s.cfg.Circuits.Get(t.Context(), circuit.Name{Upstream: "sim", Endpoint: "GET /search/*"}); err != nil || r.State != circuit.Open {
		t.Errorf("the record is %+v, %v", r, err)
	}
	if status := ask("/v1/circuits/sim/x", `{}`); status != http.StatusNotFound {
		t.Errorf("another path: got %d", status)
	}
}

func TestWithoutRedisEveryAnswerIsAProblemThatSaysToTryAgain(t *testing.T) {
	rdb, mini := redistest.Mini(t)
	s := serve(t, rdb)
	s.batch("b", 1)
	mini.SetError("ERR broken")
	asks := map[string]string{"/v1/calls": `{"upstream":"sim","path":"/x"}`, "/v1/dead/redrive": `{"all":true}`, "/v1/circuits/sim/close": `{"reason":"r"}`}
	for _, path := range []string{"/v1/batches", "/v1/batches/b", "/v1/batches/b/results", "/v1/batches/b/events", "/v1/calls/x", "/v1/dead", "/v1/dead/groups", "/v1/circuits"} {
		asks[path] = ""
	}
	check := func(got answer, path string) {
		t.Helper()
		s.want(got, http.StatusServiceUnavailable, "Redis does not answer; try again in a few seconds")
		if got.header.Get("Retry-After") == "" || strings.Contains(got.body, "broken") {
			t.Errorf("%s: got %v %s, want Retry-After and no error of Redis", path, got.header, got.body)
		}
	}
	for path, body := range asks {
		method := "GET"
		if body != "" {
			method = "POST"
		}
		got := s.ask(method, path, body)
		check(got, path)
	}
	check(s.lines("b", `{"upstream":"sim","path":"/x"}`), "/v1/batches")
}

func TestChangesAreLoggedWithWhoMadeThem(t *testing.T) {
	rdb, _ := redistest.Mini(t)
	cfg := configOf(t, rdb)
	var log syncBuffer
	cfg.Logger = log.logger()
	s := serveConfig(t, cfg)
	s.batch("b", 1)
	s.ask("POST", "/v1/calls", `{"upstream":"sim","path":"/x"}`)
	s.ask("POST", "/v1/circuits/sim/open", `{"for":"1h","reason":"r"}`)
	s.ask("POST", "/v1/circuits/sim/close", `{"reason":"r"}`)
	s.ask("POST", "/v1/dead/redrive", `{"all":true}`)
	for _, want := range []string{`msg="a batch was enqueued" who="this machine" batch=b accepted=1`, `msg="a call was enqueued" who="this machine"`,
		`msg="a circuit was opened" who="this machine" circuit=sim for=1h0m0s reason=r`, `msg="a circuit was closed" who="this machine"`, `msg="dead letters were redriven" who="this machine"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%s is not logged:\n%s", want, log.String())
		}
	}
}
