package worker

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/upstream"
)

func TestCallsWaitWithoutAnAttemptWhileThisMachineHasNoFileDescriptors(t *testing.T) {
	t.Parallel()
	var dials, requests atomic.Int32
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		io.WriteString(w, "{}")
	}))
	t.Cleanup(api.Close)
	client := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
	t.Cleanup(func() { client.Close() })
	once, err := policy.Parse("once.yaml", []byte("version: 1\nname: once\nextends: http\nbackoffs:\n  standard: {floor: 1s, base: 1s, cap: 1s, attempts: 1}\nbreaker: {window: 30s, min_calls: 1, ratio: 0.1}\n"))
	if err != nil {
		t.Fatal(err)
	}
	var printed bytes.Buffer // read once the worker has ended
	w, err := New(Config{
		Redis: client, Logger: slog.New(slog.NewTextHandler(&printed, nil)),
		Upstreams: []Upstream{{Name: "api", BaseURL: api.URL, Policy: once}},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.accounts["api"].client.Close()
	w.accounts["api"].client, err = upstream.New(upstream.Config{
		Name: "api", BaseURL: api.URL,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if dials.Add(1) <= 2 {
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
	if record, err := w.circuits.Get(t.Context(), circuit.Name{Upstream: "api"}); err != nil || record.Epoch > 1 {
		t.Errorf("a circuit has opened: %+v, %v", record, err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if result.State != tasks.StateDone || result.Attempts != 1 || result.Parked != 2 || requests.Load() != 1 {
		t.Errorf("ended %s with %d attempts and %d put-backs, %d requests (%s)", result.State, result.Attempts, result.Parked, requests.Load(), result.ErrorMessage)
	}
	if text := printed.String(); strings.Count(text, "ulimit -n") != 1 || strings.Count(text, "can make connections again") != 1 {
		t.Errorf("got the log:\n%s\nwant each message once", text)
	}
}

func TestAFaultOfThisMachineIsLoggedAtIntervalsAndWaitsGrow(t *testing.T) {
	var m machine
	start := time.Now()
	for _, tt := range []struct {
		after, wait time.Duration
		say         bool
	}{
		{0, 2 * time.Second, true},
		{time.Second, 2 * time.Second, false},
		{8 * time.Second, 4 * time.Second, false},
		{10 * time.Second, 5 * time.Second, true},
		{time.Hour, 30 * time.Second, true},
	} {
		if wait, log := m.failed(start.Add(tt.after)); wait != tt.wait || log != tt.say {
			t.Errorf("after %v: %v, %v; want %v, %v", tt.after, wait, log, tt.wait, tt.say)
		}
	}
}
