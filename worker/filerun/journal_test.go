package filerun

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/tasks"
)

func TestAReturnedCallDoesNotCountAsSentAfterTheRunIsKilled(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	j, err := readJournal(out, nil)
	if err != nil {
		t.Fatal(err)
	}
	refused, inFlight := tasks.Call{Key: "refused", Method: "POST", Path: "/1"}, tasks.Call{Key: "in flight", Method: "POST", Path: "/2"}
	for _, call := range []tasks.Call{refused, inFlight} {
		if err := j.Sending(call); err != nil {
			t.Fatal(err)
		}
	}
	j.Returned(refused)
	// Nothing is closed or rewritten: the run was killed.
	later, err := readJournal(out, nil)
	if err != nil {
		t.Fatal(err)
	}
	if calls := later.unfinished(); len(calls) != 1 || calls[0].Key != "in flight" {
		t.Errorf("got %v as sent for the next run, want only the call in flight", calls)
	}
	if err := j.file.Close(); err != nil {
		t.Error(err)
	}
}

func TestACallThatCannotBeRecordedIsNotSentIfTheJournalIsRequired(t *testing.T) {
	withoutAPI := filepath.Join(t.TempDir(), "withoutAPI", "out.sent")
	call := tasks.Call{Key: "a", Method: "POST", Path: "/a"}
	s := &journal{path: withoutAPI, required: true, open: map[callID]destination{}}
	if err := s.Sending(call); err == nil || s.failure() == nil || !strings.HasSuffix(err.Error(), "no such file or directory") {
		t.Errorf("got %v, %v", err, s.failure())
	}
	// A queue that outlives the process has a record of it.
	s = &journal{path: withoutAPI, open: map[callID]destination{}}
	if err := s.Sending(call); err != nil || s.failure() != nil {
		t.Errorf("got %v, %v", err, s.failure())
	}
}

func TestALineAfterAnIncompleteOneIsASeparateLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	whole := "{\"key\":\"a\",\"digest\":\"00\"}\n"
	for _, half := range []string{"", "{", "{\"key\":\"a\",\"dig", strings.Repeat("{\"key\":\"longer", 40)} {
		if err := os.WriteFile(path+".sent", []byte(whole+half), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := readJournal(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.note(journalLine{callID: callID{"b", "11"}}); err != nil {
			t.Fatal(err)
		}
		if err := s.file.Close(); err != nil {
			t.Fatal(err)
		}
		if s, err = readJournal(path, nil); err != nil || len(s.unfinished()) != 2 {
			t.Errorf("after %q: got %v, %v; want two calls", half, s, err)
		}
	}
}

func TestALineAfterARewriteFollowsTheRemainingLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	j := `{"key":"a","digest":"00"}` + "\n" + `{"key":"b","digest":"11"}` + "\n" + `{"key":"b","digest":"11","back":true}` + "\n"
	if err := os.WriteFile(path+".sent", []byte(j), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := readJournal(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.rewrite(); err != nil {
		t.Fatal(err)
	}
	if err := s.note(journalLine{callID: callID{"c", "22"}}); err != nil {
		t.Fatal(err)
	}
	if err := s.file.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = readJournal(path, nil); err != nil || len(s.unfinished()) != 2 {
		t.Errorf("the next run reads %v, %v; want the calls a and c; the file is %q", s, err, content(t, path+".sent"))
	}
}
