package admin

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/tasks/redislua"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

func TestThePageShowsTheHoldOfALimit(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		cfg := configOn(t, rdb)
		now, err := rdb.Time(t.Context()).Result()
		if err != nil {
			t.Fatal(err)
		}
		holds := func(until time.Time, by, rule string) {
			t.Helper()
			err := rdb.HSet(t.Context(), redislua.CircuitKey("sim", ""), "limited", until.UnixMilli(), "limited_by", by, "limited_key", "key", "limited_text", rule).Err()
			if err != nil {
				t.Fatal(err)
			}
		}
		shows := func(want string, is bool) {
			t.Helper()
			if _, body, _ := ask(t, cfg, "GET", "/", nil); strings.Contains(body, want) != is {
				t.Errorf("%q is on the page: want %t\n%s", want, is, body)
			}
		}
		holds(now.Add(48*time.Hour), "limit", "<5000>/day")
		shows("<td class=\"open\">open for 4", true) // 48 h, or a little less
		shows("limit: &lt;5000&gt;/day", true)

		if err := cfg.Circuits.Open(t.Context(), circuit.Name{Upstream: "sim"}, time.Hour, "because", "me"); err != nil {
			t.Fatal(err)
		}
		shows("(because); limit: &lt;5000&gt;/day for 4", true)

		if err := cfg.Circuits.Close(t.Context(), circuit.Name{Upstream: "sim"}, "done", "me"); err != nil {
			t.Fatal(err)
		}
		holds(now.Add(-time.Second), "budget", "100 USD/month")
		shows("closed", true)
		shows("100 USD", false)
	})
}

func TestThePageShowsWhyCallsWait(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		cfg := configOn(t, rdb)
		cfg.Concurrency = map[string]int{"sim": 4}
		says := func(want string) {
			t.Helper()
			_, body, _ := ask(t, cfg, "GET", "/", nil)
			if _, list, _ := strings.Cut(body, "What calls wait for"); want == "" && list != "" || !strings.Contains(list, want) {
				t.Errorf("reasons on the page: got %q, want %q", list, want)
			}
		}
		says("")
		submit(t, cfg, "b", "k")
		says("<li>sim: 1 call waits: no worker is running")
		submit(t, cfg, "b", "k2")
		says("<li>sim: 2 calls wait: no worker is running")
	})
}
