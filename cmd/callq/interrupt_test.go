package main

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestAnInterruptedDemonstrationSaysThatItBeginsAnew(t *testing.T) {
	t.Parallel()
	h := newHome(t, filepath.Dir(program(t)))
	h.env = append(h.env, "TMPDIR="+h.dir)
	errs, signal, end := h.start("dev", "--once", "--addr", "127.0.0.1:0")
	await(t, "the first calls", func() bool { return strings.Contains(errs.String(), " met ") })
	signal(syscall.SIGINT)
	if status := end(); status != exitFailed {
		t.Errorf("exit status %d", status)
	}
	says(t, errs.String(), "not finished; the same command begins anew\n")
	if strings.Contains(errs.String(), "to go on") {
		t.Errorf("it says:\n%s", errs)
	}
}
