package simapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestNoTwoDemoCallsHaveTheSameTarget(t *testing.T) {
	seen := map[string]bool{}
	for i, c := range DemoCalls(5000) {
		r := c.request()
		id := fmt.Sprint(targetOf(r).hash)
		if seen[id] || c.Key != fmt.Sprintf("row-%d", i+1) || c.Body != "" && !json.Valid([]byte(c.Body)) {
			t.Fatalf("row %d: %+v", i+1, c)
		}
		seen[id] = true
	}
}

func (c DemoCall) request() *http.Request {
	query := url.Values{}
	for name, value := range c.Query {
		query.Set(name, value)
	}
	return httptest.NewRequest(c.Method, c.Path+"?"+query.Encode(), strings.NewReader(c.Body))
}

// A plain client that treats answers roughly as the patsnap preset does stands in for callq, in a synctest bubble: so the
// time that the demonstration takes is known without waiting for it.
type demoClient struct {
	sim  *Server
	mu   sync.Mutex
	held time.Time // nobody calls before
	ends map[string]int
	// counted and failed are the breaker's view: answers that speak for or against the API's health.
	counted, failed int
	worst           float64 // the highest share of failures, from 20 calls on
}

func (d *demoClient) hold(until time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if until.After(d.held) {
		d.held = until
	}
}

func (d *demoClient) heldFor() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Until(d.held)
}

func (d *demoClient) count(failed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counted++
	if failed {
		d.failed++
	}
	if d.counted >= 20 {
		d.worst = max(d.worst, float64(d.failed)/float64(d.counted))
	}
}

func (d *demoClient) end(state string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ends[state]++
}

// send returns what came back; a broken connection is an error.
func (d *demoClient) send(c DemoCall) (status int, header http.Header, body []byte, err error) {
	w := httptest.NewRecorder()
	defer func() {
		if broken := recover(); broken != nil {
			err = errors.New("connection broken")
		}
	}()
	d.sim.ServeHTTP(w, c.request())
	if declared := w.Header().Get("Content-Length"); declared != strconv.Itoa(w.Body.Len()) {
		if w.Header().Get("Content-Encoding") == "" {
			return 0, nil, nil, errors.New("cut")
		}
	}
	return w.Code, w.Header(), w.Body.Bytes(), nil
}

// make carries one call to its end, like a worker with one call in hand.
func (d *demoClient) make(c DemoCall, slots chan struct{}) {
	for attempt := 1; ; attempt++ {
		slots <- struct{}{}
		for wait := d.heldFor(); wait > 0; wait = d.heldFor() {
			time.Sleep(wait) // the bubble's clock
		}
		status, header, body, err := d.send(c)
		<-slots
		verdict := judge(c, status, body, err)
		if verdict != "hold" {
			d.count(verdict == "standard" || verdict == "brief" || verdict == "outcome unknown")
		}
		most := 6
		switch verdict {
		case "hold":
			after, _ := strconv.Atoi(header.Get("Retry-After"))
			d.hold(time.Now().Add(time.Duration(max(after, 1)) * time.Second))
			attempt--
			continue
		case "endpoint":
			time.Sleep(time.Second)
			attempt--
			continue
		case "brief":
			most = 3
		case "standard":
		default:
			d.end(verdict)
			return
		}
		if attempt == most {
			d.end("dead")
			return
		}
		time.Sleep(time.Second + 2*time.Second<<(attempt-1)) // the longest that full jitter waits
	}
}

func judge(c DemoCall, status int, body []byte, err error) string {
	unclear := "brief"
	if c.Method == http.MethodPost {
		unclear = "outcome unknown"
	}
	if err != nil {
		return unclear
	}
	var envelope struct {
		Status *bool       `json:"status"`
		Code   json.Number `json:"error_code"`
	}
	bad := json.Unmarshal(body, &envelope)
	switch envelope.Code {
	case "68300004", "68300007", "68300010", "67200101":
		return "dropped"
	case "68300005", "68300008", "67200100", "67200000":
		return "standard"
	case "67200001", "67200002":
		return "hold"
	case "67200004":
		return "endpoint"
	case "67200006":
		return "dead"
	}
	switch {
	case status == 429:
		return "hold"
	case status == 400 || status == 404:
		return "dropped"
	case status == 302:
		return "done"
	case status >= 500:
		return "standard"
	case status == 200 && len(body) > 2 && body[0] == 0x1f:
		return "done" // compressed
	case status == 200 && (bad != nil || envelope.Status == nil):
		return unclear
	case status == 200 && *envelope.Status && envelope.Code == "0":
		return "done"
	}
	return "brief"
}

func TestTheDemoEndsSoonWithEveryKindOfEnd(t *testing.T) {
	for _, seed := range []uint64{DemoSeed, 0, 1, 2, 3, 4, 5, 6} {
		synctest.Test(t, func(t *testing.T) {
			sim := New(Demo(seed))
			d := &demoClient{sim: sim, ends: map[string]int{}}
			start := time.Now()
			var running sync.WaitGroup
			slots := make(chan struct{}, 16)
			for _, c := range DemoCalls(500) {
				running.Go(func() { d.make(c, slots) })
			}
			running.Wait()
			took, st := time.Since(start), sim.Stats()
			t.Logf("seed %d: %v, %v, worst share of failures %.2f, %v", seed, took, d.ends, d.worst, st.ByAnswer)
			if took < 8*time.Second || took > 30*time.Second {
				t.Errorf("seed %d: it took %v", seed, took)
			}
			if sum := d.ends["done"] + d.ends["dropped"] + d.ends["dead"] + d.ends["outcome unknown"]; sum != 500 {
				t.Errorf("seed %d: %d of 500 ended", seed, sum)
			}
			if d.ends["done"] < 400 || d.ends["dropped"] < 10 || d.ends["dead"] < 3 {
				t.Errorf("seed %d: ended %v", seed, d.ends)
			}
			for _, answer := range []string{"67200001", "67200002", "http:429", "67200004", "67200006", "68300004", "68300008", "68300010", "67200101"} {
				if st.ByAnswer[answer] == 0 {
					t.Errorf("seed %d: nobody met %s", seed, answer)
				}
			}
			if n := st.ByAnswer["67200006"]; n > 1 {
				t.Errorf("seed %d: %d answers about the credential", seed, n)
			}
			if d.worst >= 0.5 {
				t.Errorf("seed %d: the failures would trip the breaker", seed)
			}
		})
	}
}

func TestTheDemosDefaultSeedShowsEveryLineOfTheScript(t *testing.T) {
	taken := map[int]int{}
	rules := Demo(DemoSeed).Script.rules
	for _, c := range DemoCalls(500) {
		r := c.request()
		for i := range rules {
			if rules[i].matches(DemoSeed, uint64(i), r, targetOf(r)) {
				taken[i]++
				break
			}
		}
	}
	for i, rule := range rules {
		if taken[i] == 0 {
			t.Errorf("no call of 500 takes the line of %s %s -> %s", rule.method, rule.path, rule.steps[0].answer.label)
		}
	}
}
