package filerun

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/tasks"
)

func TestACallThatCameBackWithoutHavingBeenMadeIsNotTakenForSentThoughTheRunIsKilled(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	notes, err := readJournal(out, nil)
	if err != nil {
		t.Fatal(err)
	}
	refused, under := tasks.Call{Key: "refused", Method: "POST", Path: "/1"}, tasks.Call{Key: "under way", Method: "POST", Path: "/2"}
	for _, call := range []tasks.Call{refused, under} {
		if err := notes.Sending(call); err != nil {
			t.Fatal(err)
		}
	}
	notes.Returned(refused)
	// Nothing is closed or rewritten: the run was killed.
	later, err := readJournal(out, nil)
	if err != nil {
		t.Fatal(err)
	}
	if calls := later.unfinished(); len(calls) != 1 || calls[0].Key != "under way" {
		t.Errorf("the next run takes %v for sent, want the one under way alone", calls)
	}
	if err := notes.file.Close(); err != nil {
		t.Error(err)
	}
}

func TestWhereNothingElseRemembersItACallThatCannotBeNotedIsNotSent(t *testing.T) {
	nowhere := filepath.Join(t.TempDir(), "nowhere", "out.sent")
	call := tasks.Call{Key: "a", Method: "POST", Path: "/a"}
	s := &journal{path: nowhere, must: true, open: map[callID]destination{}}
	if err := s.Sending(call); err == nil || s.failure() == nil || !strings.HasSuffix(err.Error(), "no such file or directory") {
		t.Errorf("got %v, %v", err, s.failure())
	}
	// A queue that outlives the process remembers it.
	s = &journal{path: nowhere, open: map[callID]destination{}}
	if err := s.Sending(call); err != nil || s.failure() != nil {
		t.Errorf("got %v, %v", err, s.failure())
	}
}

func TestANoteAfterAHalfWrittenOneIsOnALineOfItsOwn(t *testing.T) {
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
			t.Errorf("after %q there are %v, %v", half, s, err)
		}
	}
}

func TestANoteStandsRightBehindThoseThatARewriteHasLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	notes := `{"key":"a","digest":"00"}` + "\n" + `{"key":"b","digest":"11"}` + "\n" + `{"key":"b","digest":"11","back":true}` + "\n"
	if err := os.WriteFile(path+".sent", []byte(notes), 0o600); err != nil {
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
