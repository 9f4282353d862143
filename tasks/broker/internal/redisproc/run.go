package redisproc

import (
	"os/exec"
	"runtime"
)

// Run starts a server program with options of the caller's, where a [Spec] has
// none for them, and otherwise as [Start] does: with a bare environment, in a
// process group of its own, ended with this process where the system can do it.
func Run(cmd *exec.Cmd) (*Process, error) {
	cmd.Env = environ()
	cmd.SysProcAttr = childAttr()
	p := &Process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// For the sake of the parent-death signal, as in Start.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait() // Exit tells how it ended
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}
