package worker_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

const nowhere = "http://127.0.0.1:1" // a port that was closed another test could open

func TestAnAddressThatNeverAnsweredIsHeldForAPersonAndSpendsNoAttempt(t *testing.T) {
	t.Parallel()
	api := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(api.Close)
	token := func(url string) worker.Auth {
		return worker.OAuth2(worker.OAuth2Config{TokenURL: url, ClientID: worker.StaticSecret("me"), ClientSecret: worker.StaticSecret("secret-0123456789")})
	}
	for name, u := range map[string]worker.Upstream{
		"a port":         {BaseURL: nowhere},
		"a name":         {BaseURL: "http://a..b"},
		"token endpoint": {BaseURL: api.URL, Auth: token(nowhere + "/token")},
	} {
		u.Name = "gone"
		for _, calls := range []int{1, 3, 40} {
			t.Run(fmt.Sprintf("%s, %d calls", name, calls), func(t *testing.T) {
				t.Parallel()
				env := callqtest.New(t, worker.Config{Upstreams: []worker.Upstream{u}})
				var ids []string
				for i := range calls {
					ids = append(ids, env.Submit(tasks.Call{Upstream: "gone", Method: "POST", Path: "/a", Batch: "b", Key: fmt.Sprint(i)}).ID)
				}
				env.Start()
				var c circuit.Record
				awaitTrue(t, "the circuit to open", func() (open bool) {
					var err error
					if c, err = circuit.NewStore(env.Redis(), "test").Get(t.Context(), circuit.Name{Upstream: "gone"}); err != nil {
						t.Fatal(err)
					}
					return c.State == circuit.Open
				})
				env.Stop()
				if c.Class != string(policy.ClassConfig) || c.Reason != "credential" || !c.NeedsPerson() || !strings.HasPrefix(c.Message, "no call has reached it yet: ") {
					t.Errorf("the circuit is %+v", c)
				}
				for _, id := range ids {
					r, err := ledger.New(env.Redis()).Find(t.Context(), id)
					if err != nil {
						t.Fatal(err)
					}
					if r.State != ledger.Open || r.Attempts != 0 || r.Sent != 0 || !r.FirstAt.IsZero() {
						t.Errorf("a call is %s after %d attempts, sent %d, first at %s", r.State, r.Attempts, r.Sent, r.FirstAt)
					}
					for _, a := range r.Log {
						if a.Action != string(policy.ActionPark) || a.Decided != string(policy.ActionRetry) {
							t.Errorf("an attempt is recorded as %s, decided as %q by the policy", a.Action, a.Decided)
						}
					}
				}
			})
		}
	}
}

func TestAnAddressThatHasAnsweredBeforeHasATemporaryOutage(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	api := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
	})}}
	api.Start()
	short := parse(t, `
version: 1
name: short
extends: http
backoffs:
  standard: {floor: 1ms, base: 1ms, cap: 5ms, attempts: 2}
breaker: {window: 30s, min_calls: 100, ratio: 0.5}
`)
	upstream := worker.Upstream{Name: "api", BaseURL: api.URL, Policy: short}
	env := callqtest.New(t, worker.Config{Upstreams: []worker.Upstream{upstream}})
	env.Start()
	want(t, env.Await(env.Submit(tasks.Call{Upstream: "api", Path: "/a"}).ID), tasks.StateDone, policy.ClassOK, 1)
	api.Close()
	want(t, env.Await(env.Submit(tasks.Call{Upstream: "api", Path: "/b"}).ID), tasks.StateDead, policy.ClassTransient, 2)
	env.Stop()
	// Another process has it too.
	other := callqtest.New(t, worker.Config{Upstreams: []worker.Upstream{upstream}, Redis: env.Redis()})
	other.Start()
	want(t, other.Await(other.Submit(tasks.Call{Upstream: "api", Path: "/c"}).ID), tasks.StateDead, policy.ClassTransient, 2)
	other.Stop()
	// But of another address nothing is known.
	upstream.BaseURL = nowhere
	third := callqtest.New(t, worker.Config{Upstreams: []worker.Upstream{upstream}, Redis: env.Redis()})
	third.Start()
	third.Submit(tasks.Call{Upstream: "api", Path: "/d"})
	awaitTrue(t, "the circuit to open", func() bool {
		c, err := circuit.NewStore(env.Redis(), "test").Get(t.Context(), circuit.Name{Upstream: "api"})
		if err != nil {
			t.Fatal(err)
		}
		return c.State == circuit.Open && c.Class == string(policy.ClassConfig)
	})
}

func TestAProbeThatCannotReachTheAddressEitherTakesTheNextRung(t *testing.T) {
	t.Parallel()
	quick := parse(t, `
version: 1
name: quick
extends: http
holds:
  credential: {sources: [ladder], max: 25h, ladder: [10ms]}
`)
	env := callqtest.New(t, worker.Config{Upstreams: []worker.Upstream{{Name: "gone", BaseURL: nowhere, Policy: quick}}})
	env.Submit(tasks.Call{Upstream: "gone", Path: "/a"})
	env.Submit(tasks.Call{Upstream: "gone", Path: "/b"})
	// An operator has held it: the first call that goes out is a probe.
	store, name := circuit.NewStore(env.Redis(), "test"), circuit.Name{Upstream: "gone"}
	if err := store.Open(t.Context(), name, 1, "test", "test"); err != nil {
		t.Fatal(err)
	}
	env.Start()
	awaitTrue(t, "the third rung", func() bool {
		c, err := store.Get(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if c.State != circuit.Open {
			t.Fatalf("the circuit was closed: %+v", c)
		}
		return c.Rung >= 3 && c.Class == string(policy.ClassConfig)
	})
}
