package admin

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/admin/access"
)

// words splits a command as a shell does: by spaces, except in quotes.
func words(line string) (list []string) {
	word, quote, begun := "", rune(0), false
	for _, r := range line + " " {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '"' || r == '\''):
			quote, begun = r, true
		case quote == 0 && r == ' ':
			if begun {
				list = append(list, word)
			}
			word, begun = "", false
		default:
			word, begun = word+string(r), true
		}
	}
	return list
}

// curl makes the request that a curl command makes.
func curl(t *testing.T, line string) *http.Request {
	t.Helper()
	method, body, target, header := http.MethodGet, "", "", http.Header{}
	list := words(line)[1:]
	for i := 0; i < len(list); i++ {
		switch list[i] {
		case "-N":
		case "-H":
			i++
			name, value, _ := strings.Cut(list[i], ": ")
			header.Add(name, value)
		case "-d", "--data-binary":
			method = http.MethodPost
			i++
			body = list[i]
			if body == "@calls.jsonl" {
				body = `{"key":"1","upstream":"sim","path":"/x"}` + "\n" + `{"upstream":"sim","path":"/y"}`
			}
		case "-o":
			i++
		default:
			target = list[i]
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	r.Header = header
	return r
}

func TestTheCommandsOfTheREADMESucceed(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		cfg := configOn(t, rdb)
		cfg.Access = control(t, access.Config{Tokens: []access.Token{token("operator", access.Operator)}})
		h, err := New(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(h)
		defer server.Close()
		fill := strings.NewReplacer("$TOKEN", "operator", "$CALLQ", server.URL, "$ID", tasks.TaskID(tasks.DefaultBatch, "order-17"), "$CURSOR", "sim.1")
		asked := 0
		for line := range strings.Lines(string(text)) {
			line, ok := strings.CutPrefix(strings.TrimSpace(line), "$ curl ")
			if !ok {
				continue
			}
			asked++
			r := curl(t, "curl "+fill.Replace(line))
			ctx, cancel := context.WithCancel(t.Context())
			w, err := http.DefaultTransport.RoundTrip(r.WithContext(ctx))
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			if w.StatusCode >= 300 {
				body, _ := io.ReadAll(w.Body)
				t.Errorf("%s: got %d %s", line, w.StatusCode, body)
			}
			cancel() // a stream of events would go on
			w.Body.Close()
		}
		if asked < 15 {
			t.Errorf("the README has %d commands", asked)
		}
	})
}
