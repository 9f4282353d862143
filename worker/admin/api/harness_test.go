package api_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/admin/access"
	"github.com/seed-2903acc3/callq/worker/admin/api"
	"github.com/seed-2903acc3/callq/worker/baseurl"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

func TestMain(m *testing.M) {
	// Bodies of lines and events are text in the document; their lines are checked one by
	// one.
	openapi3filter.RegisterBodyDecoder("application/x-ndjson", openapi3filter.PlainBodyDecoder)
	openapi3filter.RegisterBodyDecoder("text/event-stream", openapi3filter.PlainBodyDecoder)
	goleak.VerifyTestMain(m)
}

// server is the HTTP API on a real server. Every request and answer is checked against the
// document.
type server struct {
	t      *testing.T
	rdb    redis.UniversalClient
	cfg    api.Config
	url    string
	ledger *ledger.Ledger
	doc    *openapi3.T
}

// configOf returns a configuration with the upstreams sim and other.
func configOf(t testing.TB, rdb redis.UniversalClient) api.Config {
	t.Helper()
	rules := tasks.Rules{Upstreams: []tasks.UpstreamRules{{Name: "sim", MaxBody: 64 << 10}, {Name: "other", MaxBody: 64 << 10}}, MaxBody: 64 << 10}
	urls := baseurl.Set{"sim": "https://sim.example", "other": "https://other.example"}
	producer, err := tasks.NewProducer(rdb, tasks.ProducerConfig{Rules: rules, BaseURLs: urls})
	if err != nil {
		t.Fatal(err)
	}
	client, err := tasks.NewClient(rdb, tasks.ClientConfig{
		Explain: policy.ExplainClass, Endpoint: func(_, method, path string) string { return method + " " + path },
	})
	if err != nil {
		t.Fatal(err)
	}
	return api.Config{
		Redis: rdb, Ledger: ledger.New(rdb), Circuits: circuit.NewStore(rdb, "test"), Client: client, Producer: producer, Rules: rules,
		BaseURLs: urls, Upstreams: []string{"other", "sim"}, Concurrency: map[string]int{"sim": 4, "other": 4}, Streams: api.NewStreams(),
	}
}

func serve(t *testing.T, rdb redis.UniversalClient) *server {
	t.Helper()
	return serveConfig(t, configOf(t, rdb))
}

func serveConfig(t *testing.T, cfg api.Config) *server {
	t.Helper()
	control, err := access.New(access.Config{Loopback: true})
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewUnstartedServer(control.Handler(api.New(cfg).Routes()))
	// As in cmd/callq, but shorter: streams must not depend on these.
	h.Config.ReadTimeout, h.Config.WriteTimeout = 2*time.Second, 2*time.Second
	h.Config.RegisterOnShutdown(cfg.Streams.Stop)
	h.Start()
	t.Cleanup(func() {
		cfg.Streams.Stop()
		h.Close()
	})
	return &server{t: t, rdb: cfg.Redis, cfg: cfg, url: h.URL, ledger: cfg.Ledger, doc: document(t)}
}

// document returns the document. Its answers are closed here, so that a field that it does
// not describe is found.
func document(t testing.TB) *openapi3.T {
	t.Helper()
	text, err := api.Document()
	if err != nil {
		t.Fatal(err)
	}
	var raw map[string]any
	if err := json.Unmarshal(text, &raw); err != nil {
		t.Fatal(err)
	}
	for name, s := range raw["components"].(map[string]any)["schemas"].(map[string]any) {
		if s := s.(map[string]any); s["properties"] != nil && name != "SentProblem" {
			s["additionalProperties"] = false
		}
	}
	if text, err = json.Marshal(raw); err != nil {
		t.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context(), openapi3.IsOpenAPI31OrLater()); err != nil {
		t.Fatal(err)
	}
	return doc
}

// answer is an answer that was read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

// request changes a request before it is sent.
type request func(*http.Request)

func header(name, value string) request {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// ask sends a request with a JSON body, unless it is empty, and checks request and answer.
func (s *server) ask(method, path, body string, changes ...request) answer {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, change := range changes {
		change(r)
	}
	return s.send(r, body)
}

// lines sends lines to a batch.
func (s *server) lines(name string, lines ...string) answer {
	s.t.Helper()
	return s.ask("POST", "/v1/batches?name="+url.QueryEscape(name), strings.Join(lines, "\n"), header("Content-Type", "application/x-ndjson"))
}

func (s *server) send(r *http.Request, body string) answer {
	s.t.Helper()
	w, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer w.Body.Close()
	data, err := io.ReadAll(w.Body)
	if err != nil {
		s.t.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	got := answer{w.StatusCode, w.Header, string(data)}
	s.check(r, body, got)
	return got
}

// check checks a request and its answer against the document.
func (s *server) check(r *http.Request, body string, got answer) {
	s.t.Helper()
	route, params := s.route(r)
	if route == nil {
		if got.status != http.StatusNotFound && got.status != http.StatusMethodNotAllowed {
			s.t.Errorf("%s %s is not in the document, and got %d", r.Method, r.URL, got.status)
		}
		return
	}
	again := r.Clone(s.t.Context())
	again.Body = io.NopCloser(strings.NewReader(body))
	options := &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true, SkipSettingDefaults: true}
	in := &openapi3filter.RequestValidationInput{Request: again, PathParams: params, Route: route, Options: options}
	if got.status < 300 {
		if err := openapi3filter.ValidateRequest(s.t.Context(), in); err != nil {
			s.t.Errorf("%s %s succeeds, but is not as in the document: %v", r.Method, r.URL, err)
		}
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: got.status, Header: got.header, Options: options}
	out.SetBodyBytes([]byte(got.body))
	if err := openapi3filter.ValidateResponse(s.t.Context(), out); err != nil {
		s.t.Errorf("%s %s: the answer %d %s is not as in the document: %v", r.Method, r.URL, got.status, got.body, err)
	}
	if got.status >= 400 {
		var p struct {
			Status        int
			Title, Detail string
		}
		if err := json.Unmarshal([]byte(got.body), &p); err != nil || p.Status != got.status || p.Title == "" || len(p.Detail) < 20 {
			s.t.Errorf("%s %s: the problem %s does not say what is wrong: %v", r.Method, r.URL, got.body, err)
		}
	}
}

var placeholder = regexp.MustCompile(`\{[a-z]+\}`)

// route finds the operation of a request in the document. Names in paths are encoded.
func (s *server) route(r *http.Request) (*routers.Route, map[string]string) {
	for path, item := range s.doc.Paths.Map() {
		pattern := "^" + placeholder.ReplaceAllString(strings.ReplaceAll(path, ".", `\.`), "([^/]+)") + "$"
		found := regexp.MustCompile(pattern).FindStringSubmatch(r.URL.EscapedPath())
		op := item.GetOperation(r.Method)
		if found == nil || op == nil || path == "/v1/dead/{id}" {
			continue
		}
		params := map[string]string{}
		for i, name := range placeholder.FindAllString(path, -1) {
			params[strings.Trim(name, "{}")], _ = url.PathUnescape(found[i+1])
		}
		return &routers.Route{Spec: s.doc, Path: path, PathItem: item, Method: r.Method, Operation: op}, params
	}
	return nil, nil
}

// checkObject checks an object that is in a stream against a schema of the document.
func (s *server) checkObject(schema, text string) {
	s.t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		s.t.Errorf("%s: %v", text, err)
		return
	}
	if err := s.doc.Components.Schemas[schema].Value.VisitJSON(v, openapi3.EnableJSONSchema2020()); err != nil {
		s.t.Errorf("%s is not a %s of the document: %v", text, schema, err)
	}
}

// want checks the status of an answer, and that its body has a text.
func (s *server) want(got answer, status int, text string) {
	s.t.Helper()
	if got.status != status || !strings.Contains(got.body, text) {
		s.t.Errorf("got %d %s, want %d with %q", got.status, got.body, status, text)
	}
}

// decode reads a JSON answer.
func decode[T any](s *server, got answer) (v T) {
	s.t.Helper()
	if err := json.Unmarshal([]byte(got.body), &v); err != nil {
		s.t.Fatalf("%d %s: %v", got.status, got.body, err)
	}
	return v
}

// end makes the next call of the upstream sim end.
func (s *server) end(state ledger.State) (key string) {
	s.t.Helper()
	d := ledger.NewDispatcher(s.rdb, "")
	got, err := d.Dequeue(s.t.Context(), ledger.DequeueRequest{Queues: tasks.Queues("sim"), LeaseUntil: time.Now().Add(time.Minute).Unix(), Turn: time.Minute})
	if err != nil || got.Delivery == nil {
		s.t.Fatalf("there is no call to end: %+v, %v", got, err)
	}
	now := time.Now().UTC()
	ending := ledger.Ending{Class: "ok", Rule: "ok", HTTPStatus: 200, Attempts: 1, FirstAt: now, FinishedAt: now, Endpoint: "GET /x"}
	group := ledger.Group{}
	if state != ledger.Done {
		ending.Class, ending.Rule, ending.Code, ending.HTTPStatus = "balance", "balance", "67200005", 402
		ending.Message, ending.UserMessage, ending.Advice = "no credit", "The service is not paid.", "Top it up."
		group = ledger.Group{Class: "balance", Code: "67200005", Endpoint: "GET /x", Message: "The service is not paid.", Advice: "Top it up."}
	}
	final := ledger.Final{State: state, Ending: ending, Body: []byte(`{"key":"` + got.Delivery.Key + `"}`), BodyType: "application/json"}
	if state == ledger.Dead {
		final.Group = group
	}
	log := &ledger.Attempt{At: now, N: 1, Action: "succeed", Class: ending.Class, Rule: ending.Rule, Status: ending.HTTPStatus, Code: ending.Code, Latency: 12}
	if _, applied, err := d.End(s.t.Context(), got.Delivery, final, log); err != nil || !applied {
		s.t.Fatal(applied, err)
	}
	// What asynq does then.
	id := got.Delivery.ID
	pipe := s.rdb.TxPipeline()
	pipe.LRem(s.t.Context(), "asynq:{sim}:active", 0, id)
	pipe.ZRem(s.t.Context(), "asynq:{sim}:lease", id)
	if state == ledger.Dead {
		pipe.ZAdd(s.t.Context(), "asynq:{sim}:archived", redis.Z{Score: float64(now.Unix()), Member: id})
		pipe.HSet(s.t.Context(), "asynq:{sim}:t:"+id, "state", "archived")
	}
	if _, err := pipe.Exec(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	return got.Delivery.Key
}

// batch sends n calls, with the keys 0, 1, 2…
func (s *server) batch(name string, n int) {
	s.t.Helper()
	var lines []string
	for i := range n {
		lines = append(lines, fmt.Sprintf(`{"key":"%d","upstream":"sim","path":"/x"}`, i))
	}
	s.want(s.lines(name, lines...), http.StatusAccepted, fmt.Sprintf(`"accepted":%d`, n))
}
