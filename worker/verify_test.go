package worker_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
)

// orders is an API that takes orders by POST /orders and finds them by GET /orders?ref=.
type orders struct {
	mu sync.Mutex
	// effects counts the orders of each reference, sends and asks the requests.
	effects, sends, asks map[string]int
	// post decides what happens to a POST: whether it takes effect, and whether its answer
	// is cut. find answers a GET in place of the book; nil: the book answers.
	post func(ref string, send int) (effect, cut bool)
	find func(ref string, ask int, w http.ResponseWriter) bool
}

func (o *orders) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if r.Method == http.MethodGet {
		ref := r.URL.Query().Get("ref")
		o.asks[ref]++
		switch {
		case o.find != nil && o.find(ref, o.asks[ref], w):
		case o.effects[ref] == 0:
			http.Error(w, `{"error":"no such order"}`, http.StatusNotFound)
		default:
			fmt.Fprintf(w, `{"ref":%q}`, ref)
		}
		return
	}
	body, _ := io.ReadAll(r.Body)
	ref := strings.Trim(string(body), `"`)
	o.sends[ref]++
	effect, cut := o.post(ref, o.sends[ref])
	if effect {
		o.effects[ref]++
	}
	if cut {
		panic(http.ErrAbortHandler)
	}
	fmt.Fprint(w, `{"created":true}`)
}

// ordering starts a worker whose upstream can be asked about orders.
func ordering(t *testing.T, env *callqtest.Env, o *orders) *callqtest.Env {
	t.Helper()
	o.effects, o.sends, o.asks = map[string]int{}, map[string]int{}, map[string]int{}
	server := httptest.NewServer(o)
	t.Cleanup(server.Close)
	p, err := policy.Preset("http")
	if err != nil {
		t.Fatal(err)
	}
	match := func(text string) policy.Match {
		m, err := policy.ParseMatch(text)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	return callqtest.New(t, worker.Config{Redis: env.Redis(), Upstreams: []worker.Upstream{{
		Name: "sim", BaseURL: server.URL, Policy: p, Concurrency: 32,
		Verify: &worker.Verify{
			Path: "/orders?ref={key}", After: time.Second,
			Found: match(`{http: ["2xx"], where: {"$.ref": present}}`), Absent: match(`{http: [404]}`),
		},
	}}})
}

func order(key string) tasks.Call {
	return tasks.Call{Batch: "b", Key: key, Method: "POST", Path: "/orders", Body: []byte(`"` + key + `"`)}
}

func TestACallWhoseAnswerWasLostIsDoneIfTheAPIFindsItsEffect(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, first *callqtest.Env) {
		o := &orders{post: func(string, int) (bool, bool) { return true, true }}
		env := ordering(t, first, o)
		env.Start()
		r := env.Await(env.Submit(order("a&b")).ID)
		if r.State != tasks.StateDone || !r.Verified || string(r.Body) != `{"ref":"a&b"}` || r.Attempts != 1 {
			t.Errorf("got %s, %s, verified %t, body %s after %d attempts", r.State, r.Class, r.Verified, r.Body, r.Attempts)
		}
		if o.sends["a&b"] != 1 || o.asks["a&b"] != 1 {
			t.Errorf("sent %d times, asked %d times, want once each", o.sends["a&b"], o.asks["a&b"])
		}
	})
}

func TestACallIsSentAgainIfTheAPITwiceFindsNoEffect(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, first *callqtest.Env) {
		o := &orders{post: func(_ string, send int) (bool, bool) { return send > 1, send == 1 }}
		env := ordering(t, first, o)
		env.Start()
		r := env.Await(env.Submit(order("a")).ID)
		if r.State != tasks.StateDone || r.Verified || r.Attempts != 2 {
			t.Errorf("got %s, %s, verified %t after %d attempts", r.State, r.Class, r.Verified, r.Attempts)
		}
		if o.sends["a"] != 2 || o.asks["a"] != 2 || o.effects["a"] != 1 {
			t.Errorf("sent %d times, asked %d times, %d effects; want 2, 2, 1", o.sends["a"], o.asks["a"], o.effects["a"])
		}
	})
}

func TestAnEffectThatShowsLateIsStillFound(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, first *callqtest.Env) {
		o := &orders{
			post: func(string, int) (bool, bool) { return true, true },
			find: func(_ string, ask int, w http.ResponseWriter) bool {
				switch ask {
				case 1: // the API's index is behind
					http.Error(w, "", http.StatusNotFound)
				case 2: // a passing fault is no answer
					http.Error(w, "", http.StatusServiceUnavailable)
				default:
					return false
				}
				return true
			},
		}
		env := ordering(t, first, o)
		env.Start()
		r := env.Await(env.Submit(order("a")).ID)
		if r.State != tasks.StateDone || !r.Verified || o.sends["a"] != 1 {
			t.Errorf("got %s, %s, verified %t, sent %d times", r.State, r.Class, r.Verified, o.sends["a"])
		}
	})
}

func TestACallStaysUnknownIfTheAPISaysNeither(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, first *callqtest.Env) {
		o := &orders{
			post: func(string, int) (bool, bool) { return true, true },
			find: func(_ string, _ int, w http.ResponseWriter) bool {
				http.Error(w, `{"error":"not allowed"}`, http.StatusForbidden)
				return true
			},
		}
		env := ordering(t, first, o)
		env.Start()
		r := env.Await(env.Submit(order("a")).ID)
		if r.State != tasks.StateDead || r.Class != string(policy.ClassOutcomeUnknown) || o.sends["a"] != 1 {
			t.Errorf("got %s, %s, sent %d times", r.State, r.Class, o.sends["a"])
		}
		if !strings.Contains(r.ErrorMessage, "does not say whether it took effect") {
			t.Errorf("got the message %q", r.ErrorMessage)
		}
	})
}

func TestACallWhoseWorkerDiedIsAskedFor(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, first *callqtest.Env) {
		o := &orders{post: func(string, int) (bool, bool) { return true, false }}
		env := ordering(t, first, o)
		receipt := interrupted(t, env, order("a"), "sent", 1, "starts", 1, "attempts", 0)
		o.mu.Lock()
		o.effects["a"] = 1 // the worker that died had sent it
		o.mu.Unlock()
		env.Start()
		r := env.Await(receipt.ID)
		if r.State != tasks.StateDone || !r.Verified || o.sends["a"] != 0 {
			t.Errorf("got %s, %s, verified %t, sent %d times more", r.State, r.Class, r.Verified, o.sends["a"])
		}
	})
}

func TestManyLostAnswersAreAllVerified(t *testing.T) {
	const calls = 300
	each(t, worker.Config{}, func(t *testing.T, first *callqtest.Env) {
		// Half of the first sends take effect, none is answered.
		o := &orders{post: func(ref string, send int) (bool, bool) {
			return send > 1 || len(ref)%2 == 0, send == 1
		}}
		env := ordering(t, first, o)
		env.Start()
		var ids []string
		for i := range calls {
			ids = append(ids, env.Submit(order(fmt.Sprintf("k%0*d", 3+i%2, i))).ID)
		}
		verified := 0
		for _, id := range ids {
			r := env.Await(id)
			if r.State != tasks.StateDone {
				t.Fatalf("%s: got %s, %s: %s", r.Key, r.State, r.Class, r.ErrorMessage)
			}
			if r.Verified {
				verified++
			}
		}
		for ref, n := range o.effects {
			if n != 1 {
				t.Errorf("%s took effect %d times", ref, n)
			}
		}
		if len(o.effects) != calls || verified != calls/2 {
			t.Errorf("%d effects, %d verified; want %d and %d", len(o.effects), verified, calls, calls/2)
		}
	})
}

func TestEachMistakeInVerifyIsNamed(t *testing.T) {
	found, err := policy.ParseMatch(`{http: ["2xx"]}`)
	if err != nil {
		t.Fatal(err)
	}
	for want, v := range map[string]worker.Verify{
		"method is \"POST\"":     {Method: "POST", Path: "/a/{key}", Found: found, Absent: found},
		"must begin with /":      {Path: "a/{key}", Found: found, Absent: found},
		"neither {key} nor {id}": {Path: "/a", Found: found, Absent: found},
		"must not be negative":   {Path: "/a/{key}", After: -1, Found: found, Absent: found},
		"both found and absent":  {Path: "/a/{key}", Found: found},
		"path \"/../a/{key}\"":   {Path: "/../a/{key}", Found: found, Absent: found},
	} {
		_, err := worker.New(worker.Config{Upstreams: []worker.Upstream{{Name: "api", Verify: &v}}})
		if err == nil || !strings.Contains(err.Error(), "Upstreams[0].Verify: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q", v, err, want)
		}
	}
}
