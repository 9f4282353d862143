package simapi

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// serve puts a Server behind a real socket.
func serve(t *testing.T, c Config) (*Server, *http.Client, string) {
	t.Helper()
	sim := New(c)
	web := httptest.NewServer(sim)
	t.Cleanup(web.Close)
	t.Cleanup(func() { _ = sim.Close() })
	client := &http.Client{
		Transport:     &http.Transport{DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(client.CloseIdleConnections)
	return sim, client, web.URL
}

type reply struct {
	*http.Response
	body []byte
	err  error // of sending, or of reading the body
}

func call(t *testing.T, client *http.Client, method, url, body string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.GetBody = nil // net/http would send again by itself
	resp, err := client.Do(req)
	if err != nil {
		return reply{err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	return reply{resp, got, err}
}

func TestEachAnswerIsWhatItSays(t *testing.T) {
	for _, c := range []struct {
		step, kind, body string
		status           int
		header           map[string]string
	}{
		{"68300008", "application/json", `{"status":false,"error_code":68300008,"error_msg":"Service error, please try again later!"}`, 200, nil},
		{"12@500 message=<&>", "application/json", `{"status":false,"error_code":12,"error_msg":"<&>"}`, 500, nil},
		{"13", "application/json", `{"status":false,"error_code":13,"error_msg":"Unknown error!"}`, 200, nil},
		{"no-code", "application/json", `{"status":false,"error_msg":"Something went wrong!"}`, 200, nil},
		{"http:503 retry-after=7", "text/plain; charset=utf-8", "503 Service Unavailable\n", 503, map[string]string{"Retry-After": "7"}},
		{"http:204", "text/plain; charset=utf-8", "", 204, nil},
		{"http:429 retry-after=date:90s", "text/plain; charset=utf-8", "429 Too Many Requests\n", 429,
			map[string]string{"Retry-After": "Fri, 02 Jan 2026 03:05:30 GMT", "Date": "Fri, 02 Jan 2026 03:04:00 GMT"}},
		{"html@502", "text/html; charset=utf-8", page, 502, nil},
		{"empty", "", "", 200, map[string]string{"Content-Length": "0"}},
		{"malformed", "application/json", `{"status":true,"error_code":0,"error_msg":"","data":`, 200, nil},
		{"body=`[1,2]`@201 header=content-type:text/x", "text/x", "[1,2]", 201, nil},
		{`body={"a": [1, "b"]}`, "application/json", `{"a": [1, "b"]}`, 200, nil},
		{`http:460 header=X-Fault:credit body={"code": 17}`, "application/json", `{"code": 17}`, 460, map[string]string{"X-Fault": "credit"}},
		{"http:400 body=`<e a=\"b\"/>` header=Content-Type:application/xml", "application/xml", `<e a="b"/>`, 400, nil},
		{`http:460 body=""`, "", "", 460, map[string]string{"Content-Length": "0"}},
		{"redirect:/new", "", "", 302, map[string]string{"Location": "/new"}},
		{"redirect:http://other.test/x@308", "", "", 308, map[string]string{"Location": "http://other.test/x"}},
		{"ok header=X-Note:hello", "application/json",
			`{"status":true,"error_code":0,"error_msg":"","data":{"method":"GET","path":"/x","query":{},"body":null}}`, 200,
			map[string]string{"X-Note": "hello", "X-Openapi-Amount": "1", "X-Correlation-Id": "c-000001"}},
	} {
		t.Run(c.step, func(t *testing.T) {
			now := time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)
			_, client, url := serve(t, Config{
				Script: MustParseScript("GET /x -> " + c.step), Correlation: "c", Now: func() time.Time { return now },
			})
			got := call(t, client, "GET", url+"/x", "")
			if got.err != nil {
				t.Fatal(got.err)
			}
			if got.StatusCode != c.status || string(got.body) != c.body || got.Header.Get("Content-Type") != c.kind && c.status != 204 {
				t.Errorf("got %d %q %q", got.StatusCode, got.Header.Get("Content-Type"), got.body)
			}
			for name, want := range c.header {
				if h := got.Header.Get(name); h != want {
					t.Errorf("%s: %q, want %q", name, h, want)
				}
			}
			if got.Header.Get("X-Correlation-Id") == "" {
				t.Error("no x-correlation-id")
			}
		})
	}
}

func TestEveryCodeOfTheReferenceHasItsMessage(t *testing.T) {
	sim, client, url := serve(t, Config{})
	codes := Codes()
	if len(codes) != 18 {
		t.Errorf("%d codes", len(codes))
	}
	for _, code := range codes {
		if err := sim.Script("GET * -> " + code); err != nil {
			t.Fatal(err)
		}
		var got struct {
			Code json.Number `json:"error_code"`
			Msg  string      `json:"error_msg"`
		}
		if err := json.Unmarshal(call(t, client, "GET", url+"/x", "").body, &got); err != nil {
			t.Fatal(err)
		}
		if got.Code.String() != code || got.Msg != messages[code] || got.Msg == "" {
			t.Errorf("%s: %+v", code, got)
		}
	}
}

func TestTheEnvelopeCanBeSpeltInEveryWay(t *testing.T) {
	for _, c := range []struct {
		envelope Envelope
		bad, ok  string
	}{
		{Envelope{Message: "error_message", Code: CodeFloat}, `{"status":false,"error_code":7.0,"error_message":"m"}`, `{"status":true,"error_code":0.0,"error_message":"","data":`},
		{Envelope{Message: "msg", Code: CodeString}, `{"status":false,"error_code":"7","msg":"m"}`, `{"status":true,"error_code":"0","msg":"","data":`},
		{Envelope{Message: "message", Status: StatusString}, `{"status":"false","error_code":7,"message":"m"}`, `{"status":"true","error_code":0,"message":"","data":`},
	} {
		_, client, url := serve(t, Config{Envelope: c.envelope, Script: MustParseScript("GET * -> 7 message=m; ok")})
		if got := call(t, client, "GET", url+"/", ""); string(got.body) != c.bad {
			t.Errorf("error: %s", got.body)
		}
		if got := call(t, client, "GET", url+"/", ""); !strings.HasPrefix(string(got.body), c.ok) || !json.Valid(got.body) {
			t.Errorf("ok: %s", got.body)
		}
	}
}

func TestTheDefaultAnswerRepeatsTheCallDigitForDigit(t *testing.T) {
	_, client, url := serve(t, Config{})
	for _, c := range []struct{ target, body, want string }{
		{"/a/b?q=solar+cell&x=1&x=2", `{"n":12345678901234567890.10}`, `{"method":"POST","path":"/a/b","query":{"q":"solar cell","x":["1","2"]},"body":{"n":12345678901234567890.10}}`},
		{"/a", "plain <text>", `{"method":"POST","path":"/a","query":{},"body":"plain <text>"}`},
		{"/a", "\xff\x00", `{"method":"POST","path":"/a","query":{},"body":{"base64":"/wA=","content_type":""}}`},
		{"/a", strings.Repeat("x", maxEcho+1), `{"method":"POST","path":"/a","query":{},"body":{"bytes":1048577}}`},
	} {
		got := call(t, client, "POST", url+c.target, c.body)
		if want := `{"status":true,"error_code":0,"error_msg":"","data":` + c.want + `}`; string(got.body) != want {
			t.Errorf("%s: %.300s", c.target, got.body)
		}
	}
}

func TestACutAnswerDeclaresMoreThanItSends(t *testing.T) {
	for _, step := range []string{"cut", "cut gzip"} {
		_, client, url := serve(t, Config{Script: MustParseScript("GET * -> " + step)})
		got := call(t, client, "GET", url+"/", "")
		if got.Response == nil || !errors.Is(got.err, io.ErrUnexpectedEOF) {
			t.Fatalf("%s: %v", step, got.err)
		}
		if got.ContentLength <= int64(len(got.body)) || len(got.body) == 0 {
			t.Errorf("%s: declared %d, sent %d", step, got.ContentLength, len(got.body))
		}
	}
}

func TestAResetIsATCPResetAndAfterDoesTheWork(t *testing.T) {
	for _, tls := range []bool{false, true} {
		sim := New(Config{Script: MustParseScript("GET /before -> reset\nGET /after -> reset-after latency=1ms")})
		web := httptest.NewUnstartedServer(sim)
		if tls {
			web.StartTLS()
		} else {
			web.Start()
		}
		defer web.Close()
		before := call(t, web.Client(), "GET", web.URL+"/before", "")
		worked := sim.Stats().Worked
		after := call(t, web.Client(), "GET", web.URL+"/after", "")
		for _, r := range []reply{before, after} {
			if !errors.Is(r.err, syscall.ECONNRESET) {
				t.Errorf("tls %v: %v", tls, r.err)
			}
		}
		if st := sim.Stats(); worked != 0 || st.Worked != 1 || st.Arrivals != 2 {
			t.Errorf("worked %d then %d, arrivals %d", worked, st.Worked, st.Arrivals)
		}
	}
}

func TestWithoutAConnectionOfItsOwnAResetAborts(t *testing.T) {
	sim := New(Config{Script: MustParseScript("GET * -> reset")})
	defer func() {
		if got := recover(); got != http.ErrAbortHandler {
			t.Errorf("panicked with %v", got)
		}
		if sim.Stats().InFlight != 0 {
			t.Error("the call is still in flight")
		}
	}()
	sim.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
}

func TestABigAnswerHasItsSizeAndIsAnEnvelope(t *testing.T) {
	_, client, url := serve(t, Config{Script: MustParseScript("GET /b -> big=3MB; big=3MB gzip; big=1B")})
	plain := call(t, client, "GET", url+"/b", "")
	if plain.err != nil || len(plain.body) != 3_000_000 || plain.ContentLength != 3_000_000 || !json.Valid(plain.body) {
		t.Errorf("%v: %d bytes of %d", plain.err, len(plain.body), plain.ContentLength)
	}
	packed := call(t, client, "GET", url+"/b", "")
	if len(packed.body) > 30_000 || !bytes.Equal(unzip(t, packed), plain.body) {
		t.Errorf("compressed: %d bytes, not the same when unpacked", len(packed.body))
	}
	if small := call(t, client, "GET", url+"/b", ""); !json.Valid(small.body) {
		t.Errorf("small: %s", small.body)
	}
}

func TestGzipCompressesAnyBody(t *testing.T) {
	_, client, url := serve(t, Config{Script: MustParseScript("GET * -> 7 message=m gzip")})
	got := call(t, client, "GET", url+"/", "")
	if body := unzip(t, got); string(body) != `{"status":false,"error_code":7,"error_msg":"m"}` {
		t.Errorf("%s", body)
	}
	if got.Header.Get("Content-Length") != strconv.Itoa(len(got.body)) {
		t.Errorf("Content-Length %s for %d bytes", got.Header.Get("Content-Length"), len(got.body))
	}
}

func unzip(t *testing.T, r reply) []byte {
	t.Helper()
	if r.err != nil || r.Header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("%v, Content-Encoding %q", r.err, r.Header.Get("Content-Encoding"))
	}
	z, err := gzip.NewReader(bytes.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAHangEndsWithTheClientTheCapItsTimeOrTheServer(t *testing.T) {
	hung := func(st Stats) bool { return st.ByAnswer["hang"] == 1 }
	over := func(st Stats) bool { return st.Arrivals == 1 && st.InFlight == 0 }
	for _, c := range []struct {
		name, step string
		cap        time.Duration
		end        func(cancel func(), sim *Server)
		gone       bool
	}{
		{"client", "hang", 0, func(cancel func(), _ *Server) { cancel() }, true},
		{"server", "hang", 0, func(_ func(), sim *Server) { _ = sim.Close() }, false},
		{"cap", "hang", time.Millisecond, nil, false},
		{"cap over time", "hang=1h", time.Millisecond, nil, false},
		{"time", "hang=1ms", 0, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			sim, client, url := serve(t, Config{HangCap: c.cap, Script: MustParseScript("POST * -> " + c.step)})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			failed := make(chan error, 1)
			go func() {
				req, _ := http.NewRequestWithContext(ctx, "POST", url+"/", io.NopCloser(strings.NewReader("body")))
				resp, err := client.Do(req)
				if err == nil {
					err = resp.Body.Close()
				}
				failed <- err
			}()
			if err := sim.WaitFor(t.Context(), hung); err != nil {
				t.Fatal(err)
			}
			if c.end != nil {
				c.end(cancel, sim)
			}
			if err := <-failed; err == nil {
				t.Error("the hang was answered")
			}
			if err := sim.WaitFor(t.Context(), over); err != nil {
				t.Fatal(err)
			}
			if got := sim.Calls()[0]; got.ClientGone != c.gone || got.Done.IsZero() || got.Status != 0 || got.BodyBytes != 4 {
				t.Errorf("logged %+v", got)
			}
		})
	}
}
