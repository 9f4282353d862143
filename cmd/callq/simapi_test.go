package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/worker/simapi"
)

// serveSim starts callq simapi on a free port and returns its URL; ended gives
// its exit status.
func serveSim(t *testing.T, ctx context.Context, args ...string) (url string, ended <-chan int) {
	t.Helper()
	r, w := io.Pipe()
	status := make(chan int, 1)
	var errs bytes.Buffer
	go func() {
		status <- run(ctx, append([]string{"simapi", "--addr", "127.0.0.1:0", "--json"}, args...), nil, w, &errs, os.Getenv)
		w.Close()
	}()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatalf("it did not start: status %d, %s", <-status, errs.String())
	}
	var started struct{ URL string }
	if err := json.Unmarshal([]byte(line), &started); err != nil {
		t.Fatal(err)
	}
	return started.URL, status
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	client := &http.Client{Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestSimapiAnswersUntilItIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	url, ended := serveSim(t, ctx, "--quota", "2/1h")
	for i, want := range []string{`"error_code":0`, `"error_code":0`, `"error_code":67200001`} {
		if _, body := get(t, url+"/search"); !strings.Contains(strings.ReplaceAll(body, " ", ""), want) {
			t.Errorf("call %d: %s", i+1, body)
		}
	}
	if _, stats := get(t, url+"/_sim/stats"); !strings.Contains(stats, "3") {
		t.Errorf("stats: %s", stats)
	}
	cancel()
	if status := <-ended; status != exitOK {
		t.Errorf("exit status %d", status)
	}
}

func TestASignalEndsSimapiEvenIfACallHangs(t *testing.T) {
	script := t.TempDir() + "/script"
	if err := os.WriteFile(script, []byte("GET /hang -> hang\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	url, ended := serveSim(t, t.Context(), "--script", script)
	hung := make(chan error, 1)
	go func() {
		resp, err := http.Get(url + "/hang")
		if err == nil {
			resp.Body.Close()
		}
		hung <- err
	}()
	// The call is seen to have arrived before the signal is sent.
	for deadline := time.Now().Add(10 * time.Second); ; {
		if _, calls := get(t, url+"/_sim/calls"); strings.Contains(calls, "/hang") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the call did not arrive")
		}
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := <-ended; status != exitOK {
		t.Errorf("exit status %d", status)
	}
	if err := <-hung; err == nil {
		t.Error("the hanging call was answered")
	}
}

func TestATakenAddressIsAUsageError(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	url, ended := serveSim(t, ctx)
	_, errs, status := callq(t, "simapi", "--addr", strings.TrimPrefix(url, "http://"))
	if status != exitUsage || !strings.Contains(errs, "cannot listen") || !strings.Contains(errs, "port 0 for a free one") {
		t.Errorf("status %d: %s", status, errs)
	}
	cancel()
	<-ended
}

func TestSimapiFlagsBecomeItsConfig(t *testing.T) {
	a := &app{}
	cfg, err := a.simConfig(simFlags{
		seed: 7, latency: "20ms-120ms", quota: "100/1m", retryAfter: true, rate: "10/20", balance: "5/0.01",
		token: "t", tokenFor: time.Hour, apiKey: "k", oauth: "id:se:cret", oauthFor: time.Minute,
		message: "msg", code: "string", status: "string",
	})
	if err != nil {
		t.Fatal(err)
	}
	if until := time.Until(cfg.TokenUntil); until < 59*time.Minute || until > time.Hour {
		t.Errorf("the token expires in %v", until)
	}
	want := simapi.Config{
		Seed: 7, Latency: simapi.Latency{Min: 20 * time.Millisecond, Max: 120 * time.Millisecond},
		Quota: simapi.Quota{Calls: 100, Window: time.Minute, RetryAfter: true}, Rate: simapi.Rate{PerSecond: 10, Burst: 20},
		Balance: simapi.Balance{Credit: 5, PerCall: 0.01}, Token: "t", APIKey: "k",
		OAuth:    simapi.OAuth{ClientID: "id", ClientSecret: "se:cret", Lifetime: time.Minute},
		Envelope: simapi.Envelope{Message: "msg", Code: simapi.CodeString, Status: simapi.StatusString},
	}
	if cfg.Latency != want.Latency || cfg.Quota != want.Quota || cfg.Rate != want.Rate || cfg.Balance != want.Balance ||
		cfg.Token != want.Token || cfg.APIKey != want.APIKey || cfg.OAuth != want.OAuth || cfg.Envelope != want.Envelope || cfg.Seed != want.Seed {
		t.Errorf("got %+v", cfg)
	}
}

func TestTheDemonstrationCanBeChangedWithFlags(t *testing.T) {
	cfg, err := (&app{}).simConfig(simFlags{demo: true, seed: 1, latency: "0s"})
	if err != nil {
		t.Fatal(err)
	}
	demo := simapi.Demo(1)
	if cfg.Script.String() != demo.Script.String() || cfg.Quota != demo.Quota || cfg.Latency != (simapi.Latency{}) {
		t.Errorf("got %+v", cfg)
	}
}

func TestSimapiSimulatesTheAPIThatIsNamed(t *testing.T) {
	cfg, err := (&app{}).simConfig(simFlags{api: "openai", quota: "100/1m", budget: 30})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.API != "openai" || cfg.Quota.Calls != 100 || cfg.Balance != (simapi.Balance{Credit: 30, PerCall: 1}) || cfg.Validate() != nil {
		t.Errorf("got %+v", cfg)
	}
	cfg, err = (&app{}).simConfig(simFlags{api: "slack", demo: true})
	if err != nil || cfg.API != "slack" || cfg.Script.String() != simapi.DemoOf("slack", 1).Script.String() || cfg.Validate() != nil {
		t.Errorf("%v: got %+v", err, cfg)
	}
}
