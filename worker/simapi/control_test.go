package simapi

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestAnotherProcessSteersTheServer(t *testing.T) {
	s, client, url := serve(t, Config{Token: "old"})
	post := func(path, body string) {
		t.Helper()
		if got := call(t, client, "POST", url+path, body); got.StatusCode != http.StatusNoContent {
			t.Fatalf("%s: %d %s", path, got.StatusCode, got.body)
		}
	}
	post("/_sim/config", `{"token":{"value":""},"envelope":{"message":"msg"},"rate":{"per_second":1000,"burst":9},
		"latency":{"min":"1ms","max":"2ms"},"balance":{"credit":10,"per_call":1},
		"quota":{"calls":2,"window":"1h","retry_after":true,"status":429}}`)
	post("/_sim/script", "GET * -> 7 message=m; ok")
	if got := call(t, client, "GET", url+"/x", ""); string(got.body) != `{"status":false,"error_code":7,"msg":"m"}` {
		t.Errorf("%s", got.body)
	}
	before := time.Now()
	if got := call(t, client, "GET", url+"/x", ""); got.Header.Get("X-Openapi-Amount") != "1" {
		t.Errorf("%s", got.body)
	}
	if got := call(t, client, "GET", url+"/x", ""); got.StatusCode != 429 || got.Header.Get("Retry-After") != "3600" {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}

	var st struct {
		Arrivals int            `json:"arrivals"`
		ByAnswer map[string]int `json:"by_answer"`
		Since    int            `json:"since_arrivals"`
	}
	stats := call(t, client, "GET", url+"/_sim/stats?since="+before.UTC().Format(time.RFC3339Nano), "")
	if err := json.Unmarshal(stats.body, &st); err != nil || st.Arrivals != 3 || st.ByAnswer["67200001@429"] != 1 || st.Since != 2 {
		t.Errorf("%v: %s", err, stats.body)
	}
	lines := bufio.NewScanner(bytes.NewReader(call(t, client, "GET", url+"/_sim/calls?since=1", "").body))
	var seqs []int64
	for lines.Scan() {
		var c Call
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, c.Seq)
	}
	if len(seqs) != 2 || seqs[0] != 2 || seqs[1] != 3 {
		t.Errorf("calls after the first: %v", seqs)
	}

	post("/_sim/reset", "")
	if got := s.Stats().Arrivals; got != 0 {
		t.Errorf("%d arrivals after the reset", got)
	}
	post("/_sim/config", `{"token":{"value":"new"}}`)
	post("/_sim/expire", "")
	if got := get(s, "/x", "new"); got.Code != 401 {
		t.Errorf("an expired token: %d", got.Code)
	}
}

func TestAWrongOrderFromOutsideChangesNothingAndSaysWhy(t *testing.T) {
	s, client, url := serve(t, Config{})
	for _, c := range []struct{ method, path, body, want string }{
		{"POST", "/_sim/script", "GET /x -> ok\nGET /x", "line 2: no ->"},
		{"POST", "/_sim/config", `{"quotas":{}}`, "quotas"},
		{"POST", "/_sim/config", `{"rate":{"per_second":1},"quota":{"calls":-1}}`, "quota of -1 calls"},
		{"POST", "/_sim/config", `{"quota":{"calls":1,"window":5}}`, "5 is no duration"},
		{"POST", "/_sim/config", `{"quota":{"calls":1,"window":"5"}}`, "missing unit"},
		{"POST", "/_sim/config", `{} {}`, "more than one JSON value"},
		{"POST", "/_sim/script", strings.Repeat("#", maxScript+1), "too large"},
		{"GET", "/_sim/stats?since=now", "", "no RFC 3339 time"},
		{"GET", "/_sim/calls?since=-1", "", "no sequence number"},
		{"GET", "/_sim/nothing", "", "not found"},
		{"GET", "/_sim/reset", "", "Method Not Allowed"},
	} {
		got := call(t, client, c.method, url+c.path, c.body)
		if got.StatusCode < 400 || !strings.Contains(string(got.body), c.want) {
			t.Errorf("%s %s %.40s: %d %s", c.method, c.path, c.body, got.StatusCode, got.body)
		}
	}
	if s.account.rate.PerSecond != 0 || s.script != nil || s.Stats().Arrivals != 0 {
		t.Error("something changed")
	}
}

func TestAPageOfAnotherSiteCannotSteer(t *testing.T) {
	s, client, url := serve(t, Config{})
	req, err := http.NewRequestWithContext(t.Context(), "POST", url+"/_sim/script", strings.NewReader("GET * -> hang"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden || s.script != nil {
		t.Errorf("%s", resp.Status)
	}
}

func FuzzConfigure(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"quota":{"calls":1,"window":"2s","retry_after":true,"code":"none","status":429}}`, `{"rate":{"per_second":1e308,"burst":1}}`,
		`{"balance":{"credit":1e308,"per_call":1e-308}}`, `{"latency":{"min":"-1s"}}`, `{"token":{"value":"x","until":"2026-01-01T00:00:00Z"}}`,
		`{"envelope":{"code":"float"}}`, `null`, `[]`, `{"quota":null}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s := New(Config{})
		if s.configure(text) != nil {
			return
		}
		s.SetLatency(Latency{}) // do not wait for what was found
		get(s, "/x", "")
		if s.Stats().Arrivals != 1 {
			t.Fatal("the call was not counted")
		}
	})
}
