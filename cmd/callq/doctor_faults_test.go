package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/internal/programtest"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

const doctorConfig = "upstreams: {sim: {base_url: \"http://127.0.0.1:1\", policy: patsnap}}\n"

// skewed is the URL of a Redis whose clock is off: a way to the server on which the
// answers to TIME are changed.
func skewed(t *testing.T, server *redistest.Server, by time.Duration) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go pipeSkewed(client, server.Socket, by)
		}
	}()
	return "redis://" + l.Addr().String() + "/0"
}

var timeReply = regexp.MustCompile(`^\*2\r\n\$10\r\n(\d{10})\r\n\$\d\r\n`)

func pipeSkewed(client net.Conn, socket string, by time.Duration) {
	defer client.Close()
	server, err := net.Dial("unix", socket)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := server.Read(buffer)
		reply := timeReply.ReplaceAllFunc(buffer[:n], func(head []byte) []byte {
			at := timeReply.FindSubmatch(head)[1]
			seconds, _ := strconv.ParseInt(string(at), 10, 64)
			return bytes.Replace(head, at, strconv.AppendInt(nil, seconds+int64(by/time.Second), 10), 1)
		})
		if _, failed := client.Write(reply); err != nil || failed != nil {
			return
		}
	}
}

func TestDoctorReportsAWrongClock(t *testing.T) {
	server := redistest.Redis(t)
	path := filepath.Join(t.TempDir(), "callq.yaml")
	if err := os.WriteFile(path, []byte(doctorConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		by     time.Duration
		status int
		says   string
	}{
		{0, exitOK, "ok       clock "},
		{10 * time.Minute, exitFailed, "finding  clock        the clocks of this machine and of Redis differ by "},
		{-7 * time.Second, exitFailed, "finding  clock        the clocks of this machine and of Redis differ by "},
	} {
		t.Run(c.by.String(), func(t *testing.T) {
			url := skewed(t, server, c.by)
			var out bytes.Buffer
			env := func(name string) string { return map[string]string{"CALLQ_REDIS": url}[name] }
			status := run(t.Context(), []string{"doctor", "--config", path}, nil, &out, io.Discard, env)
			if status != c.status || !strings.Contains(out.String(), c.says) || (c.status != exitOK) != strings.Contains(out.String(), "Next: set both by NTP") {
				t.Errorf("status %d:\n%s", status, &out)
			}
		})
	}
}

// TestAnAsynqWithUnknownScriptsIsRefused builds callq with an asynq in which one script
// is another, as a new version may have it.
func TestAnAsynqWithUnknownScriptsIsRefused(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the program")
	}
	t.Parallel()
	server := redistest.Redis(t)
	// A callq that was made for another asynq than the linked one is built from a changed
	// file: far less has to be compiled than for another asynq.
	dir := t.TempDir()
	known, err := filepath.Abs("../../tasks/broker/scripts.go")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(known)
	if err != nil {
		t.Fatal(err)
	}
	digest := regexp.MustCompile(`shaDequeue = "[0-9a-f]{40}"`)
	if len(digest.FindAll(source, -1)) != 1 {
		t.Fatal("the digest of asynq's dequeue is not where this test changes it")
	}
	other := filepath.Join(dir, "scripts.go")
	if err := os.WriteFile(other, digest.ReplaceAll(source, []byte(`shaDequeue = "`+strings.Repeat("0", 40)+`"`)), 0o600); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "callq")
	if err := programtest.Build(binary, "-overlay", overlay(t, known, other)); err != nil {
		t.Fatal(err)
	}

	h := newHome(t, os.Getenv("PATH"))
	h.write("callq.yaml", doctorConfig+fmt.Sprintf("redis: %q\n", server.URL))
	for _, c := range []struct{ command, says string }{
		{"doctor", "finding  asynq        asynq's scripts are not those that this callq was made for: the dequeue script of asynq v0.26.0 "},
		{"doctor", "Next: go get github.com/hibiken/asynq@v0.26.0"},
		{"work", "asynq's scripts are not those that this callq was made for: the dequeue script of asynq v0.26.0 "},
	} {
		cmd := exec.Command(binary, c.command)
		cmd.Dir, cmd.Env = h.dir, h.env
		out, _ := cmd.CombinedOutput()
		if status := cmd.ProcessState.ExitCode(); status != exitFailed || !strings.Contains(string(out), c.says) {
			t.Errorf("%s ended with status %d:\n%s", c.command, status, out)
		}
	}
}
