package fleettest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-2903acc3/callq/internal/programtest"
)

// process is one "callq work" of a fleet.
type process struct {
	t *testing.T
	// name is the value of [workerHeader] in the API's log.
	name string
	log  programtest.Log

	cmd   *exec.Cmd
	ended chan struct{}
}

// work starts one process with its own configuration. The process is killed at the end of
// the test; if the test failed, what it has written is shown.
func work(t *testing.T, program, name, config string, concurrency int, env ...string) *process {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "callq.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, name: name, ended: make(chan struct{})}
	p.cmd = exec.Command(program, "work", "--log-format=text", "--config", "callq.yaml", "--listen", "127.0.0.1:0", "--concurrency", fmt.Sprint(concurrency))
	p.cmd.Dir, p.cmd.SysProcAttr = dir, tied()
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TZ=UTC", "GORACE=atexit_sleep_ms=0"}, env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	started := make(chan error)
	go func() {
		// This thread must not end: the process is killed with the thread that started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // exit gives its status
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.kill()
		if text := p.log.String(); t.Failed() || strings.Contains(text, "DATA RACE") {
			t.Errorf("%s wrote:\n%s", p.name, tail(text, 8<<10))
		}
	})
	return p
}

func tail(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return "… " + text[len(text)-most:]
}

// kill ends the process at once, as a crash would, and waits until it has ended.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// terminate asks the process to drain, waits until it has ended and returns its
// exit status.
func (p *process) terminate() int {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	<-p.ended
	return p.cmd.ProcessState.ExitCode()
}

// works reports whether the process has logged that it works.
func (p *process) works() bool {
	select {
	case <-p.ended:
		p.t.Fatalf("%s ended: %s", p.name, p.cmd.ProcessState)
	default:
	}
	return strings.Contains(p.log.String(), "msg=working")
}
