package simapi

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table of README.md anew")

// answerTable is the README's table of the APIs' answers.
func answerTable() string {
	var b strings.Builder
	b.WriteString("| API | errors by name |\n|---|---|\n")
	for _, name := range APIs() {
		if name != DefaultAPI {
			b.WriteString("| `" + name + "` | " + strings.Join(Answers(name), ", ") + " |\n")
		}
	}
	return b.String()
}

func TestTheREADMEListsTheAnswersOfEachAPI(t *testing.T) {
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(page), "| API |")
	if !found {
		t.Fatal("README.md has no table of the APIs")
	}
	_, after, _ := strings.Cut(rest, "\n\n")
	want := before + answerTable() + "\n" + after
	if *update {
		if err := os.WriteFile("README.md", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(page) != want {
		t.Error("the table of README.md is not up to date; run go test ./worker/simapi -run README -update")
	}
}
