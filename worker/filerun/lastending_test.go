package filerun

import "testing"

func TestTheEndingOfTheLastOpenCallIsSignalledOnce(t *testing.T) {
	l := newLastEnding()
	signalled := func() bool {
		select {
		case <-l.noted:
			return true
		default:
			return false
		}
	}
	l.note()
	if signalled() {
		t.Error("a signal before it is known how many calls are open")
	}
	l.await(2)
	l.note()
	if signalled() {
		t.Error("a signal while a call is open")
	}
	l.note()
	if !signalled() || signalled() {
		t.Error("want one signal after the last call")
	}
	l.note()
	if signalled() {
		t.Error("a second signal")
	}
	l.await(1)
	l.note()
	if !signalled() {
		t.Error("no signal when a call that was still open has ended")
	}
}
