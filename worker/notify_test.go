package worker_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/internal/programtest"
	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/notify/notifytest"
)

// eachRedis runs a test on miniredis and on a real Redis.
func eachRedis(t *testing.T, test func(t *testing.T, rdb *redis.Client)) {
	t.Helper()
	t.Parallel()
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		t.Parallel()
		test(t, rdb)
	})
}

// hook is a webhook to a receiver, with the tests' secret.
func hook(r *notifytest.Receiver) worker.Webhook {
	return worker.Webhook{Name: "ops", URL: worker.StaticSecret(r.URL), Secret: worker.StaticSecret(notifytest.Secret)}
}

// endings returns what was told of a batch: how many calls it had each time it ended.
func endings(got []notifytest.Delivery, batch string) (accepted []float64) {
	for _, d := range got {
		if d.Type == "batch_ended" && d.Data["batch"] == batch {
			accepted = append(accepted, d.Data["accepted"].(float64))
		}
	}
	return accepted
}

// oneCall sends a call and waits for its end.
func oneCall(env *callqtest.Env, batch, key, path string) tasks.Result {
	return env.Await(env.Submit(tasks.Call{Path: path, Batch: batch, Key: key}).ID)
}

func TestAReceiverThatWasDownGetsEveryEventInOrderOnceItIsBack(t *testing.T) {
	eachRedis(t, func(t *testing.T, rdb *redis.Client) {
		r := notifytest.New(t, notifytest.Secret)
		r.Answer(0)
		env := callqtest.New(t, worker.Config{Redis: rdb, Notify: []worker.Webhook{hook(r)}})
		env.Sim().Script("GET /bad -> 68300004; ok")
		env.Start()
		oneCall(env, "a", "1", "/good")
		dropped := oneCall(env, "b", "1", "/bad")
		if dropped.State != tasks.StateDropped {
			t.Fatalf("the bad call ended %s", dropped.State)
		}
		r.AwaitRefused(1)
		circuits, name := circuit.NewStore(env.Redis(), "test"), circuit.Name{Upstream: callqtest.Upstream}
		if err := circuits.Open(t.Context(), name, time.Hour, "test", "alice"); err != nil {
			t.Fatal(err)
		}
		awaitTrue(t, "the open circuit to be found", func() bool { return waitingFor(t, env, "ops") >= 3 })
		if err := circuits.Close(t.Context(), name, "test", "alice"); err != nil {
			t.Fatal(err)
		}
		oneCall(env, "a", "2", "/good")
		awaitTrue(t, "the events to be found", func() bool { return waitingFor(t, env, "ops") >= 5 })
		r.AwaitRefused(2)
		r.Answer(204)
		got := r.Await("all events", func(got []notifytest.Delivery) bool { return len(got) == 5 })
		if a, b := endings(got, "a"), endings(got, "b"); !slices.Equal(a, []float64{1, 2}) || !slices.Equal(b, []float64{1}) {
			t.Errorf("batch a ended with %v calls, b with %v; want 1 and 2, and 1", a, b)
		}
		opened := slices.IndexFunc(got, func(d notifytest.Delivery) bool { return d.Type == "circuit_opened" })
		closed := slices.IndexFunc(got, func(d notifytest.Delivery) bool { return d.Type == "circuit_closed" })
		if opened < 0 || closed < opened || got[opened].Data["reason"] != "operator" || got[opened].Data["why"] != "alice: test" {
			t.Errorf("the circuit's events are number %d and %d of %v", opened, closed, got)
		}
		awaitTrue(t, "nothing to wait", func() bool { return waitingFor(t, env, "ops") == 0 })
	})
}

// waitingFor returns how many events wait for a receiver.
func waitingFor(t *testing.T, env *callqtest.Env, receiver string) int64 {
	t.Helper()
	n, err := env.Redis().LLen(t.Context(), "callq:{n:events}:out:"+receiver).Result()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAReceiverThatRefusesAnEventGetsTheNextOneAndItIsADeadLetter(t *testing.T) {
	eachRedis(t, func(t *testing.T, rdb *redis.Client) {
		r := notifytest.New(t, notifytest.Secret)
		env := callqtest.New(t, worker.Config{Redis: rdb, Notify: []worker.Webhook{hook(r)}})
		env.Start()
		r.Answer(404)
		oneCall(env, "a", "1", "/1")
		r.AwaitRefused(1)
		r.Answer(200)
		oneCall(env, "b", "1", "/1")
		got := r.Await("the second event", func(got []notifytest.Delivery) bool { return len(got) > 0 })
		if got[0].Data["batch"] != "b" {
			t.Errorf("got %v, want the end of batch b", got[0])
		}
		groups, err := env.Client().DeadGroups(t.Context())
		if err != nil || len(groups) != 1 || groups[0].Class != "config" || !slices.Equal(groups[0].Queues, []string{"notify.ops"}) {
			t.Fatalf("the dead letters are %+v, %v", groups, err)
		}
		for d, err := range env.Client().DeadLetters(t.Context(), tasks.DeadFilter{}) {
			if err != nil || d.Result.HTTPStatus != 404 || d.Result.Advice == "" {
				t.Errorf("the dead letter is %+v, %v", d.Result, err)
			}
			env.Redrive(d.Result.ID)
		}
		r.Await("the event that was redriven", func(got []notifytest.Delivery) bool { return len(endings(got, "a")) == 1 })
	})
}

func TestAProgramGetsEachEventTyped(t *testing.T) {
	eachRedis(t, func(t *testing.T, rdb *redis.Client) {
		var mu sync.Mutex
		var got []worker.Event
		env := callqtest.New(t, worker.Config{Redis: rdb, OnEvent: func(e worker.Event) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, e)
		}})
		env.Sim().Script("GET /dead -> http:401 forever")
		env.Start()
		r := oneCall(env, "b", "1", "/dead")
		if r.State != tasks.StateDead {
			t.Fatalf("the call ended %s (%s)", r.State, r.Class)
		}
		awaitTrue(t, "two events", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(got) >= 2
		})
		group, ok := got[0].(worker.DeadGroup)
		if !ok || group.Upstream != callqtest.Upstream || group.Class != string(policy.ClassAuth) || group.Count != 1 || group.Example != r.ID || group.Advice == "" {
			t.Errorf("the first event is %+v, want the group of dead letters", got[0])
		}
		ended, ok := got[1].(worker.BatchEnded)
		if !ok || ended.Batch != "b" || ended.Accepted != 1 || ended.Dead != 1 || ended.ID == "" || time.Since(ended.At) > time.Minute {
			t.Errorf("the second event is %+v, want the end of the batch", got[1])
		}
	})
}

func TestASlowReceiverTakesNoPermitFromCalls(t *testing.T) {
	eachRedis(t, func(t *testing.T, rdb *redis.Client) {
		r := notifytest.New(t, notifytest.Secret)
		r.Hold()
		env := callqtest.New(t, worker.Config{Redis: rdb, Concurrency: 1, Notify: []worker.Webhook{hook(r)}})
		env.Start()
		oneCall(env, "a", "1", "/1")
		awaitTrue(t, "the event to be sent", func() bool {
			n, err := env.Redis().LLen(t.Context(), "asynq:{notify.ops}:active").Result()
			return err == nil && n == 1
		})
		want(t, oneCall(env, "b", "1", "/1"), tasks.StateDone, policy.ClassOK, 1)
		r.Release()
		r.Await("both events", func(got []notifytest.Delivery) bool { return len(got) == 2 })
	})
}

func TestNothingIsAskedOfRedisForEventsThatNobodyWants(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, env *callqtest.Env) {
		env.Start()
		oneCall(env, "a", "1", "/1")
		env.Stop()
		for _, pattern := range []string{"callq:{n:events}:*", "callq:*:watched", "callq:*:ended", "callq:*:causes", "*notify.*"} {
			if names, err := env.Redis().Keys(t.Context(), pattern).Result(); err != nil || len(names) > 0 {
				t.Errorf("the keys %s are %v, %v", pattern, names, err)
			}
		}
	})
}

func TestASecretThatIsReplacedSignsTheNextEventAndNeitherItNorTheAddressIsInRedis(t *testing.T) {
	eachRedis(t, func(t *testing.T, rdb *redis.Client) {
		const next = "whsec_bmV4dG5leHRuZXh0bmV4dG5leHRuZXh0bmV4dA=="
		path := filepath.Join(t.TempDir(), "secret")
		write := func(text string) {
			if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write(notifytest.Secret)
		r := notifytest.New(t, notifytest.Secret)
		h := hook(r)
		h.Secret = worker.FileSecret(path)
		log := &programtest.Log{}
		env := callqtest.New(t, worker.Config{Redis: rdb, Notify: []worker.Webhook{h}, Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
		env.Start()
		oneCall(env, "a", "1", "/1")
		r.Await("the first event", func(got []notifytest.Delivery) bool { return len(got) == 1 })
		write(notifytest.Secret + " " + next)
		oneCall(env, "b", "1", "/1")
		r.Await("an event with two signatures", func(got []notifytest.Delivery) bool { return len(got) == 2 })
		write(next)
		r.Expect(next)
		r.Answer(500)
		oneCall(env, "c", "1", "/1")
		r.AwaitRefused(1)
		r.Answer(204)
		got := r.Await("an event with the next secret", func(got []notifytest.Delivery) bool { return len(got) == 3 })
		if n := strings.Count(got[1].Header.Get("webhook-signature"), "v1,"); n != 2 {
			t.Errorf("the second event has %d signatures, want 2", n)
		}
		env.Stop()
		stored := everything(t, env.Redis()) + log.String()
		for _, secret := range []string{"t0p5ecretpath", strings.TrimPrefix(notifytest.Secret, "whsec_"), strings.TrimPrefix(next, "whsec_")} {
			if strings.Contains(stored, secret) {
				t.Errorf("%s is in Redis or in the log", secret)
			}
		}
	})
}

func TestAProgramDoesNotSeeTheDeliveriesOfItsWebhooks(t *testing.T) {
	r := notifytest.New(t, notifytest.Secret)
	var seen sync.Map
	env := callqtest.New(t, worker.Config{
		Notify:    []worker.Webhook{hook(r)},
		OnAttempt: func(a worker.AttemptResult) { seen.Store("attempt of "+a.Upstream, nil) },
		Middleware: []worker.Middleware{func(next worker.Handler) worker.Handler {
			return func(ctx context.Context, a worker.Attempt) (policy.Outcome, error) {
				seen.Store("middleware of "+a.Upstream, nil)
				return next(ctx, a)
			}
		}},
	})
	env.Start()
	oneCall(env, "a", "1", "/1")
	r.Await("the event", func(got []notifytest.Delivery) bool { return len(got) == 1 })
	env.Stop()
	var names []string
	seen.Range(func(name, _ any) bool {
		names = append(names, name.(string))
		return true
	})
	slices.Sort(names)
	if want := []string{"attempt of " + callqtest.Upstream, "middleware of " + callqtest.Upstream}; !slices.Equal(names, want) {
		t.Errorf("the program has seen %q, want %q", names, want)
	}
}

func TestSlackGetsTextWithoutASignature(t *testing.T) {
	r := notifytest.New(t, "")
	env := callqtest.New(t, worker.Config{Notify: []worker.Webhook{{Name: "chat", URL: worker.StaticSecret(r.URL), Slack: true, Events: []worker.EventType{worker.EventBatchEnded}}}})
	env.Start()
	oneCall(env, "<b>", "1", "/1")
	got := r.Await("the event", func(got []notifytest.Delivery) bool { return len(got) == 1 })
	if text := string(got[0].Body); text != `{"text":"Batch \u0026lt;b\u0026gt; has ended: 1 call, 1 done"}` {
		t.Errorf("got %s", text)
	}
	if s := got[0].Header.Get("webhook-signature"); s != "" {
		t.Errorf("it has the signature %s", s)
	}
}

func TestTheErrorOfAWebhookNamesItsFieldAndNotItsAddress(t *testing.T) {
	for name, c := range map[string]struct {
		hook worker.Webhook
		want string
	}{
		"no name":   {worker.Webhook{URL: worker.StaticSecret("https://a.example/x"), Slack: true}, "Notify[0]: name"},
		"no secret": {worker.Webhook{Name: "a", URL: worker.StaticSecret("https://a.example/x")}, "Notify[0]: secret: is missing"},
		"short":     {worker.Webhook{Name: "a", URL: worker.StaticSecret("https://a.example/x"), Secret: worker.StaticSecret("whsec_c2hvcnQ=")}, "24 to 64"},
		"no url":    {worker.Webhook{Name: "a", Slack: true}, "Notify[0]: url"},
		"no scheme": {worker.Webhook{Name: "a", URL: worker.StaticSecret("hooks.example/t0p5ecret"), Slack: true}, "Notify[0]: url"},
		"event":     {worker.Webhook{Name: "a", URL: worker.StaticSecret("https://a.example/x"), Slack: true, Events: []worker.EventType{"batch"}}, `"batch" is not an event`},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := policy.Preset("http")
			if err != nil {
				t.Fatal(err)
			}
			client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
			defer client.Close()
			_, err = worker.New(worker.Config{Redis: client, Upstreams: []worker.Upstream{{Name: "a", Policy: p}}, Notify: []worker.Webhook{c.hook}})
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "t0p5ecret") {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// everything returns all keys and values of a Redis as text.
func everything(t *testing.T, rdb redis.UniversalClient) string {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	names, err := rdb.Keys(ctx, "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, name := range names {
		kind, err := rdb.Type(ctx, name).Result()
		if err != nil {
			t.Fatal(err)
		}
		var value any
		switch kind {
		case "string":
			value = rdb.Get(ctx, name).Val()
		case "hash":
			value = rdb.HGetAll(ctx, name).Val()
		case "list":
			value = rdb.LRange(ctx, name, 0, -1).Val()
		case "set":
			value = rdb.SMembers(ctx, name).Val()
		case "zset":
			value = rdb.ZRange(ctx, name, 0, -1).Val()
		}
		fmt.Fprintln(&b, name, value)
	}
	return b.String()
}

func TestADoneNotificationIsKeptForTheRetentionFromItsOwnEnding(t *testing.T) {
	eachRedis(t, func(t *testing.T, rdb *redis.Client) {
		r := notifytest.New(t, notifytest.Secret)
		env := callqtest.New(t, worker.Config{Redis: rdb, Notify: []worker.Webhook{hook(r)}})
		env.Start()
		oneCall(env, "a", "1", "/1")
		r.Await("the event", func(got []notifytest.Delivery) bool { return len(got) == 1 })
		l := ledger.New(env.Redis())
		awaitTrue(t, "its job to end", func() bool {
			b, err := l.Batch(t.Context(), "notify.ops")
			return err == nil && b.Counts.Done == 1 && b.Counts.Open == 0
		})
		env.Stop()
		// The batch of notifications never ends, so its calls must not wait for that.
		if _, err := l.Sweep(t.Context(), time.Now().Add(2*time.Hour), time.Hour); err != nil {
			t.Fatal(err)
		}
		if b, err := l.Batch(t.Context(), "notify.ops"); err != nil || b.Counts.Expired != 1 {
			t.Errorf("the batch of notifications is %+v, %v; want its call forgotten and the batch there", b.Counts, err)
		}
	})
}
