package worker_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/internal/programtest"
	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/tasks/redislua"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

// recordKey is where the ledger keeps a call of the upstream "sim".
func recordKey(id string) string { return "callq:{sim}:c:" + id }

// elsewhere is an API that no call may reach.
func elsewhere(t *testing.T) (url string, arrivals *atomic.Int64) {
	t.Helper()
	arrivals = &atomic.Int64{}
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { arrivals.Add(1) }))
	t.Cleanup(s.Close)
	return s.URL, arrivals
}

// onRedis runs a test with a worker only on a real Redis: nothing else can write
// to miniredis, and its messages for errors of scripts are different.
func onRedis(t *testing.T, test func(t *testing.T, env *callqtest.Env)) {
	t.Helper()
	t.Parallel()
	test(t, callqtest.New(t, worker.Config{Redis: redistest.Redis(t).Client}))
}

// dispositionOf waits until the counts are the end of a call of the upstream "sim". They
// may not have the call yet, or find something else instead.
func dispositionOf(t *testing.T, env *callqtest.Env, name, id string) ledger.Record {
	t.Helper()
	l := ledger.New(env.Redis())
	var r ledger.Record
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if r, err = l.Get(t.Context(), "sim", id); err == nil && r.State.Ended() {
			return r
		}
		<-time.After(20 * time.Millisecond)
	}
	t.Fatalf("%s: call %s did not end: it is %q, %v", name, id, r.State, err)
	return r
}

// unsent checks that the calls ended as dead letters of that class and were never
// made, that a call behind them is, and that none is left on asynq's lists.
func unsent(t *testing.T, env *callqtest.Env, class policy.Class, calls map[string]string) {
	t.Helper()
	for name, id := range calls {
		r := dispositionOf(t, env, name, id)
		if e := r.Ending; r.State != ledger.Dead || e.Class != string(class) || e.Message == "" || e.Advice == "" {
			t.Errorf("%s: ended %s: %+v", name, r.State, e)
		}
	}
	if n := env.Sim().Arrivals(); n != 0 {
		t.Errorf("%d requests arrived: %+v", n, env.Sim().Seen())
	}
	want(t, env.Await(env.Submit(tasks.Call{Path: "/next", Upstream: "sim"}).ID), tasks.StateDone, policy.ClassOK, 1)
	for deadline := time.Now().Add(time.Minute); ; {
		left, err := env.Redis().LRange(t.Context(), "asynq:{sim}:active", 0, -1).Result()
		if err == nil && len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left active: %v %v", left, err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

func TestARecordWithCorruptNumbersEndsItsCallUnsent(t *testing.T) {
	const huge, least = "9223372036854775807", "-9223372036854775808"
	onRedis(t, func(t *testing.T, env *callqtest.Env) {
		calls := map[string]string{}
		for _, field := range []string{"gen", "attempts", "parked", "starts", "settled", "sent", "first", "parked_at", "held_base", "held_own"} {
			for _, value := range []string{huge, least, "99999999999999999999999", "1e3", "x", "", "01", "\xff"} {
				name := fmt.Sprintf("%s=%q", field, value)
				id := env.Submit(tasks.Call{Path: "/corrupt"}).ID
				if err := env.Redis().HSet(t.Context(), recordKey(id), field, value).Err(); err != nil {
					t.Fatal(err)
				}
				calls[name] = id
			}
		}
		env.Start()
		unsent(t, env, policy.ClassMalformedTask, calls)
	})
}

func TestARecordOfTheWrongTypeStopsNoQueue(t *testing.T) {
	onRedis(t, func(t *testing.T, env *callqtest.Env) {
		calls := map[string]string{}
		for name, corrupt := range map[string]func(redis.Pipeliner, string){
			"a text":  func(p redis.Pipeliner, key string) { p.Set(t.Context(), key, "\xffrandom", 0) },
			"a list":  func(p redis.Pipeliner, key string) { p.RPush(t.Context(), key, "state", "open") },
			"nothing": func(redis.Pipeliner, string) {},
		} {
			id := env.Submit(tasks.Call{Path: "/corrupt"}).ID
			pipe := env.Redis().TxPipeline()
			pipe.Del(t.Context(), recordKey(id))
			corrupt(pipe, recordKey(id))
			if _, err := pipe.Exec(t.Context()); err != nil {
				t.Fatal(err)
			}
			calls[name] = id
		}
		env.Start()
		unsent(t, env, policy.ClassMalformedTask, calls)
	})
}

func TestATaskOfTheWrongTypeStopsNoQueueAndItsCallIsReportedAsLost(t *testing.T) {
	onRedis(t, func(t *testing.T, env *callqtest.Env) {
		id := env.Submit(tasks.Call{Path: "/corrupt"}).ID
		pipe := env.Redis().TxPipeline()
		pipe.Del(t.Context(), "asynq:{sim}:t:"+id)
		pipe.Set(t.Context(), "asynq:{sim}:t:"+id, "no hash", 0)
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
		env.Start()
		unsent(t, env, policy.ClassMalformedTask, nil)
		var recovered []string
		for r, err := range ledger.NewRepairer(env.Redis()).Orphaned(t.Context(), &ledger.Search{ID: tasks.TaskID, Max: 100}) {
			if err != nil {
				t.Fatal(err)
			}
			recovered = append(recovered, r.ID)
		}
		if !slices.Equal(recovered, []string{id}) {
			t.Errorf("lost are %v, want %s", recovered, id)
		}
	})
}

// TestACallThatIsWrittenToRedisDirectlyCannotLeaveItsUpstream has contents that no producer of
// callq's lets through, written to the records of calls that one did.
func TestACallThatIsWrittenToRedisDirectlyCannotLeaveItsUpstream(t *testing.T) {
	away, arrivals := elsewhere(t)
	host := strings.TrimPrefix(away, "http://")
	cfg := worker.Config{Upstreams: []worker.Upstream{
		{Name: "sim", Auth: worker.Query("apikey", worker.StaticSecret("the-secret-of-the-upstream"))},
		{Name: "other"},
	}}
	quoted := func(s string) string {
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	contents := map[string]string{
		"random bytes":            "\x00\xff\x80\x1b[2J random",
		"nothing":                 "",
		"no JSON":                 "{",
		"JSON of another shape":   "[1,2,3]",
		"deep JSON":               `{"v":1,"upstream":"sim","path":"/a","body":` + strings.Repeat("[", 200000) + strings.Repeat("]", 200000) + "}",
		"no version":              `{"upstream":"sim","method":"GET","path":"/a"}`,
		"a version below one":     `{"v":-1,"upstream":"sim","path":"/a"}`,
		"an unknown field":        `{"v":1,"upstream":"sim","path":"/a","base_url":` + quoted(away) + "}",
		"a field twice":           `{"v":1,"upstream":"sim","path":"/a","path":"/b"}`,
		"another upstream":        `{"v":1,"upstream":"other","method":"GET","path":"/a"}`,
		"an unknown upstream":     `{"v":1,"upstream":"unknown","method":"GET","path":"/a"}`,
		"an upstream that is URL": `{"v":1,"upstream":` + quoted(away) + `,"method":"GET","path":"/a"}`,
		"no upstream":             `{"v":1,"method":"GET","path":"/a"}`,
		"a huge time":             `{"v":1,"upstream":"sim","path":"/a","deadline":"9999999999-01-01T00:00:00Z"}`,
	}
	for _, path := range []string{
		"", "a", away, away + "/a", "//" + host + "/a", `/\\` + host, `\\` + host, "@" + host, ":" + host, "/../a", "/a/../../b", "/%2e%2e/a", "/%2E%2E%2Fa",
		"/%252e%252e/a", "/a/..;x=y/b", `/..\a`, "/%5c..%5ca", "/\x00", "/a\r\nHost: " + host, "/a%0d%0aHost:%20" + host, "/a HTTP/1.1\r\nHost: " + host, "/a#b", "/%zz", "/a%",
		"/\u0085", "/a?apikey=mine", "/a?api%6bey=mine", "/a?b=1;apikey=mine", "/a?b\r\nx", strings.Repeat("/a", 40000),
	} {
		contents["path "+path[:min(len(path), 60)]] = `{"v":1,"upstream":"sim","method":"GET","path":` + quoted(path) + "}"
	}
	for _, method := range []string{"CONNECT", "TRACE", "GET /b HTTP/1.1\r\nX:", "GÉT", "G T", "\x00", strings.Repeat("G", 100000)} {
		contents["method "+method[:min(len(method), 30)]] = `{"v":1,"upstream":"sim","method":` + quoted(method) + `,"path":"/a"}`
	}
	for _, header := range [][2]string{
		{"Host", host}, {"hOST", host}, {"Transfer-Encoding", "chunked"}, {"Content-Length", "0"}, {"Connection", "close"}, {"Upgrade", "h2c"}, {"Te", "trailers"},
		{"Trailer", "X"}, {"Expect", "100-continue"}, {"Authorization", "Bearer x"}, {"Cookie", "a=b"}, {"Proxy-Authorization", "x"}, {"Keep-Alive", "1"},
		{"X-A\r\nHost", host}, {"X A", "b"}, {"", "b"}, {"X-A", "b\r\nHost: " + host}, {"X-A", "b\x00"}, {"X-A", "b\nc"}, {"X-A:", "b"},
	} {
		contents["header "+header[0]+": "+header[1]] = `{"v":1,"upstream":"sim","method":"POST","path":"/a","headers":{` + quoted(header[0]) + ":" + quoted(header[1]) + "}}"
	}
	for name, body := range map[string]string{
		"bad base64": `{"base64":"!","content_type":null}`, "content type": `{"base64":"AA==","content_type":"a\r\nHost: x"}`, "half a pair": `"\ud83d"`,
	} {
		contents["body "+name] = `{"v":1,"upstream":"sim","method":"POST","path":"/a","body":` + body + "}"
	}
	each(t, cfg, func(t *testing.T, env *callqtest.Env) {
		calls := map[string]string{}
		for name, content := range contents {
			id := env.Submit(tasks.Call{Upstream: "sim", Path: "/honest"}).ID
			if err := env.Redis().HSet(t.Context(), recordKey(id), "content", content).Err(); err != nil {
				t.Fatal(err)
			}
			calls[name] = id
		}
		env.Start()
		unsent(t, env, policy.ClassMalformedTask, calls)
		if n := arrivals.Load(); n != 0 {
			t.Errorf("%d requests went elsewhere", n)
		}
	})
}

func TestRandomBytesAsTaskMessagesEndAsDeadLetters(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, env *callqtest.Env) {
		ctx := t.Context()
		calls := map[string]string{}
		honest := env.Submit(tasks.Call{Path: "/honest"}).ID
		real, err := env.Redis().HGet(ctx, "asynq:{sim}:t:"+honest, "msg").Result()
		if err != nil {
			t.Fatal(err)
		}
		if err := env.Redis().Del(ctx, "asynq:{sim}:t:"+honest, recordKey(honest), "asynq:{sim}:pending").Err(); err != nil {
			t.Fatal(err)
		}
		for i, msg := range []string{
			"", "\x00", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", strings.Repeat("\x0a", 100), "{}", "\x0a\x02\xc3\x28", real, real[:len(real)/2], real + "\xff",
			"\x0a\xff\xff\xff\xff\x0f", strings.Repeat("\xf7", 1<<20), "\x1b]0;title\x07\x1b[2J",
		} {
			id := fmt.Sprintf("corrupt-%d", i)
			env.Redis().HSet(ctx, "asynq:{sim}:t:"+id, "msg", msg, "state", "pending")
			env.Redis().LPush(ctx, "asynq:{sim}:pending", id)
			calls[fmt.Sprintf("%d %.20q", i, msg)] = id
		}
		env.Start()
		unsent(t, env, policy.ClassMalformedTask, calls)
	})
}

// TestTextFromTheAPIIsRecordedAsCleanText has an API whose words are as bad as
// HTTP lets them be: they flow into Redis, the log, asynq's error text and the
// results.
func TestTextFromTheAPIIsRecordedAsCleanText(t *testing.T) {
	nasty := "\x1b[2J\x1b]0;owned\x07\xff\xfe\xc3\x28\u202eright-to-left\u0085\u2028\r\n" + strings.Repeat("é", 5000)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		// All that net/http's client takes: it refuses ASCII's control characters.
		h["X-Correlation-Id"] = []string{"id\u009b31m\xff\xfe" + strings.Repeat("9", 4000)}
		h["X-Openapi-Amount"] = []string{"1e309\xff"}
		h["Retry-After"] = []string{strings.Repeat("9", 3000)}
		h["Ratelimit"] = []string{"\xff;;;\"=" + strings.Repeat("1", 3000)}
		h["X-Ratelimit-Reset"] = []string{"-99999999999999999999"}
		h["Content-Type"] = []string{"text/\xff; charset=\xff"}
		switch r.URL.Path {
		case "/envelope":
			fmt.Fprintf(w, "{\"status\":false,\"error_code\":68300004,\"error_msg\":\"%s\"}", strings.NewReplacer("\r", "", "\n", "", "\x1b", "\\u001b", "\x07", "\\u0007").Replace(nasty))
		case "/code":
			fmt.Fprint(w, `{"status":false,"error_code":1e999999999,"error_msg":"huge"}`)
		case "/deep":
			fmt.Fprint(w, strings.Repeat(`{"a":[`, 100000))
		default:
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, nasty)
		}
	}))
	t.Cleanup(api.Close)
	log := &programtest.Log{}
	cfg := worker.Config{
		Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Upstreams: []worker.Upstream{{
			Name: "sim", BaseURL: api.URL, Budget: []string{"100 USD/day"}, CostPerCall: "0.01", CostHeader: "X-Openapi-Amount",
		}},
	}
	each(t, cfg, func(t *testing.T, env *callqtest.Env) {
		env.Start()
		for _, path := range []string{"/envelope", "/code", "/deep", "/text"} {
			r := env.Await(env.Submit(tasks.Call{Path: path}).ID)
			line, err := tasks.EncodeResult(nil, r)
			if err != nil || !utf8.Valid(line) || bytes.ContainsAny(bytes.TrimSuffix(line, []byte("\n")), "\x1b\x07\r\n") || !json.Valid(line) {
				t.Errorf("%s: %v %q", path, err, line)
			}
			if r.State != tasks.StateDead && r.State != tasks.StateDropped || r.CorrelationID == "" {
				t.Errorf("%s ended %s, %s with correlation id %q: %s", path, r.State, r.Class, r.CorrelationID, r.ErrorMessage)
			}
			for what, text := range map[string]string{"id": r.CorrelationID, "message": r.ErrorMessage} {
				if len(text) > 2048 || strings.ContainsFunc(text, unicode.IsControl) {
					t.Errorf("%s keeps the %s %q", path, what, text)
				}
			}
		}
		env.Stop()
		if text := log.String(); !utf8.ValidString(text) || strings.ContainsAny(text, "\x1b\x07\r") {
			t.Error("the log has the API's text unescaped")
		}
	})
}

func TestArbitraryMessagesOnTheChannelDoNotDisturbAWorker(t *testing.T) {
	onRedis(t, func(t *testing.T, env *callqtest.Env) {
		env.Start()
		want(t, env.Await(env.Submit(tasks.Call{Path: "/first"}).ID), tasks.StateDone, policy.ClassOK, 1)
		for _, word := range []string{
			"", "{", "}", "{}", "sim", "asynq:{sim:unknown}:pending", "asynq:{sim:}:pending", "asynq:{:}:pending", "asynq:{unknown}:pending", "\x00\xff{sim\xff}", strings.Repeat("{", 1<<16),
		} {
			if n, err := env.Redis().Publish(t.Context(), redislua.Channel, word).Result(); err != nil || n == 0 {
				t.Fatalf("%d workers received %.20q, %v", n, word, err)
			}
		}
		want(t, env.Await(env.Submit(tasks.Call{Path: "/next"}).ID), tasks.StateDone, policy.ClassOK, 1)
	})
}

// A circuit's record that another program has corrupted may hold an account, as any hold does:
// no call goes out in doubt. An operator's word puts it right.
func TestACorruptCircuitAtMostHoldsCallsAndAnOperatorsCloseRepairsIt(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"x", "", "-1", "1e400", "9223372036854775807", "99999999999999999999999", "nan", "inf", "\xff", "no hash"} {
		t.Run(fmt.Sprintf("%q", value), func(t *testing.T) {
			onRedis(t, func(t *testing.T, env *callqtest.Env) {
				corrupt := []any{"state", "open"}
				for _, field := range []string{"until", "since", "rung", "streak", "failed", "endpoints", "held", "turn", "limited", "limited_turn", "lease", "max_probes"} {
					corrupt = append(corrupt, field, value)
				}
				err := env.Redis().HSet(t.Context(), "callq:{sim}:circuit", corrupt...).Err()
				if value == "no hash" {
					err = env.Redis().Set(t.Context(), "callq:{sim}:circuit", value, 0).Err()
				}
				if err != nil {
					t.Fatal(err)
				}
				id := env.Submit(tasks.Call{Path: "/a"}).ID
				env.Start()
				store := circuit.NewStore(env.Redis(), "test")
				if err := store.Close(t.Context(), circuit.Name{Upstream: "sim"}, "repaired", "test"); err != nil {
					t.Fatal(err)
				}
				want(t, env.Await(id), tasks.StateDone, policy.ClassOK, 1)
			})
		})
	}
}
