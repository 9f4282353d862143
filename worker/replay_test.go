package worker

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/limit"
	"github.com/seed-2903acc3/callq/worker/upstream"
)

func TestAReplayThatIsNotSentReturnsItsSlotAndTheCallUsesTheFreshCredentialLater(t *testing.T) {
	t.Parallel()
	token := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		if err := os.WriteFile(token+".new", []byte(text), 0o600); err != nil {
			t.Error(err)
		}
		if err := os.Rename(token+".new", token); err != nil {
			t.Error(err)
		}
	}
	write("old")
	var dials, requests atomic.Int32
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		if requests.Add(1) == 1 {
			write("fresh")
			w.WriteHeader(http.StatusUnauthorized)
		} else if r.Header.Get("Authorization") != "Bearer fresh" {
			t.Errorf("got the credential %q", r.Header.Get("Authorization"))
		}
		io.WriteString(w, "{}")
	}))
	t.Cleanup(api.Close)
	client := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
	t.Cleanup(func() { client.Close() })
	pol, err := policy.Preset("http")
	if err != nil {
		t.Fatal(err)
	}
	w, err := New(Config{Redis: client, Upstreams: []Upstream{{Name: "api", BaseURL: api.URL, Policy: pol, Limits: []string{"100/month"}}}})
	if err != nil {
		t.Fatal(err)
	}
	w.accounts["api"].client.Close()
	w.accounts["api"].client, err = upstream.New(upstream.Config{
		Name: "api", BaseURL: api.URL, Auth: upstream.Bearer(upstream.FileSecret(token)),
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if dials.Add(1) == 2 { // for the replay
				return nil, &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("socket", syscall.EMFILE)}
			}
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	producer, err := tasks.NewProducer(client, tasks.ProducerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	follow, err := tasks.NewClient(client, tasks.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	receipt, err := producer.Submit(t.Context(), tasks.Call{Upstream: "api", Method: "POST", Path: "/a"})
	if err != nil {
		t.Fatal(err)
	}
	patience, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	result, err := follow.Wait(patience, receipt.ID)
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if result.State != tasks.StateDone || result.Attempts != 1 || requests.Load() != 2 {
		t.Errorf("ended %s (%s) with %d attempts, %d requests; want done with 1 and 2", result.State, result.Class, result.Attempts, requests.Load())
	}
	if used := client.HGet(t.Context(), limit.Keys("api")[0], "n:1month").Val(); used != "2" {
		t.Errorf("%s of the window are used, want 2: one for each request", used)
	}
}
