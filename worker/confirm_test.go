package worker_test

import (
	"net/http"
	"testing"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
)

// A worker that is paused for a while continues where it was: before the request, or before
// it repeats the request with a fresh token. By then another worker may have its call.
func TestACallThatWasPutBackMeanwhileIsNotSent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		script string
		call   tasks.Call
		// at is what is in progress when the call is put back; sent is how often it arrives.
		at   string
		sent int
	}{
		"while its worker got a token": {
			"POST /token -> body=`{\"token\":\"t\",\"expires_in\":3600}` latency=6s forever", tasks.Call{Path: "/a"}, "/token", 0,
		},
		"while its worker got a token, though it is marked as sent": {
			"POST /token -> body=`{\"token\":\"t\",\"expires_in\":3600}` latency=6s forever", tasks.Call{Method: http.MethodPost, Path: "/a"}, "/token", 0,
		},
		"before it is sent again with a fresh token": {
			"POST /token -> body=`{\"token\":\"t\",\"expires_in\":3600}` forever\nPOST /a -> 67200003@401 latency=1s; ok",
			tasks.Call{Method: http.MethodPost, Path: "/a"}, "/a", 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, worker.Config{}, func(t *testing.T, first *callqtest.Env) {
				env := callqtest.New(t, worker.Config{Redis: first.Redis(), Upstreams: []worker.Upstream{{
					Name: "sim", BaseURL: first.Sim().URL(), Auth: worker.OAuth2(worker.OAuth2Config{
						ClientID: worker.StaticSecret("id"), ClientSecret: worker.StaticSecret("secret"),
						TokenField: "token", TokenURL: first.Sim().URL() + "/token",
					}),
				}}})
				first.Sim().Script(c.script)
				env.Start()
				receipt := env.Submit(c.call)
				awaitTrue(t, "the request to "+c.at, func() bool { return first.Sim().Arrived(http.MethodPost, c.at) > 0 })
				env.Redis().HSet(t.Context(), "asynq:{sim}:t:"+receipt.ID, "state", "pending")
				env.Stop() // once the call was handled
				method := c.call.Method
				if method == "" {
					method = http.MethodGet
				}
				if n := first.Sim().Arrived(method, "/a"); n != c.sent {
					t.Errorf("it arrived %d times, want %d", n, c.sent)
				}
			})
		})
	}
}
