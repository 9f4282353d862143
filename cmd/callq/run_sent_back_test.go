package main

import (
	"path/filepath"
	"testing"

	"github.com/seed-2903acc3/callq/tasks"
)

func TestACallThatCameBackWithoutHavingBeenMadeIsNotTakenForSentThoughTheRunIsKilled(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	notes, err := readSent(out, nil)
	if err != nil {
		t.Fatal(err)
	}
	refused, under := tasks.Call{Key: "refused", Method: "POST", Path: "/1"}, tasks.Call{Key: "under way", Method: "POST", Path: "/2"}
	back, err := notes.send(refused)
	if err != nil || back == nil {
		t.Fatal(err)
	}
	if _, err := notes.send(under); err != nil {
		t.Fatal(err)
	}
	back()
	// Nothing is closed or rewritten: the run was killed.
	later, err := readSent(out, nil)
	if err != nil {
		t.Fatal(err)
	}
	if calls := later.earlier(); len(calls) != 1 || calls[0].Key != "under way" {
		t.Errorf("the next run takes %v for sent, want the one under way alone", calls)
	}
	if err := notes.file.Close(); err != nil {
		t.Error(err)
	}
}
