package redislua

import (
	"slices"
	"strings"
	"testing"
)

func TestCompactRemovesCommentsAndIndentation(t *testing.T) {
	got := Compact("-- a comment\n\nif a then\n  -- another\n  return 1 -- kept\nend\n")
	if want := "if a then\nreturn 1 -- kept\nend\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFilesAreConcatenated(t *testing.T) {
	both := Read(files, "limited", "limited")
	if one := Limited(); both != one+one || !strings.Contains(one, "local function write_limited(") {
		t.Errorf("got %q", both)
	}
	if Script("return ", "1\n").Hash() != Script("  return 1").Hash() {
		t.Error("one script has two digests")
	}
}

func TestReadPanicsForAFileThatIsNotEmbedded(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a missing file was read")
		}
	}()
	Read(files, "no such file")
}

func TestAllKeysOfAQueueAreInOneSlot(t *testing.T) {
	keys := []string{
		Own("api:high", "fence"), Asynq("api:high", "pending"), CircuitKey("api:high", ""), CircuitKey("api:high", "GET~/a"),
	}
	want := []string{
		"callq:{api:high}:fence", "asynq:{api:high}:pending", "callq:{api:high}:circuit", "callq:{api:high}:circuit~GET~/a",
	}
	if !slices.Equal(keys, want) {
		t.Errorf("got %q, want %q", keys, want)
	}
	if UpstreamOf("api:high") != "api" || UpstreamOf("api") != "api" {
		t.Error("UpstreamOf returned another upstream")
	}
}
