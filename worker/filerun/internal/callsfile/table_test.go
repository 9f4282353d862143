package callsfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/tasks"
)

func TestTheColumnMetaIsNotReplacedByOtherColumns(t *testing.T) {
	if missingTool("python3") != "" {
		t.Skip("python3 is not installed")
	}
	dir := t.TempDir()
	table := "path,query,meta,note\n/a,\"{\"\"q\"\":1}\",\"{\"\"row\"\":7}\",mine\n"
	if err := os.WriteFile(filepath.Join(dir, "calls.csv"), []byte(table), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, dir, Detect([]byte(table), true).In("calls.csv"))
	made, err := os.ReadFile(filepath.Join(dir, "calls.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	call, err := tasks.ParseCall(made)
	if err != nil || strings.ReplaceAll(string(call.Meta), " ", "") != `{"row":7}` {
		t.Errorf("meta is %s, %v; want the column meta; the line is %s", call.Meta, err, made)
	}
}
