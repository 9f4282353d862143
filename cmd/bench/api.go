package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"
)

// apiVariable makes this program the API that both sides call. It is a process of its
// own, so that its CPU time is not that of a side.
const apiVariable = "CALLQ_BENCH_API"

// apiAnswer is the body of every answer.
const apiAnswer = `{"status":true,"data":{"id":"US11234567B2","title":"Solar cell","pages":12}}` + "\n"

// serveAPI answers every request until its input ends. It prints its URL first.
func serveAPI(stdin io.Reader, stdout io.Writer) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, apiAnswer) // a client that has gone
	})}
	if _, err := fmt.Fprintf(stdout, "http://%s\n", listener.Addr()); err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		_ = server.Close()
	}()
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// api is the API's process.
type api struct {
	url  string
	stop func()
}

// startAPI starts this program as the API. It ends with this process.
func startAPI(ctx context.Context) (*api, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env, cmd.Stderr = append(os.Environ(), apiVariable+"=1"), os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	started := &api{stop: func() {
		_ = stdin.Close()
		_ = cmd.Wait() // it has no result
	}}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		started.stop()
		return nil, fmt.Errorf("start the API: %w", err)
	}
	started.url = strings.TrimSpace(line)
	return started, nil
}
