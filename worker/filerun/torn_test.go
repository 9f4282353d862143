package filerun

import (
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/tasks"
)

// A run that was killed leaves any beginning of a line, also one of a few bytes. What is
// no beginning of a result is somebody's text and must not be cut off.
func TestOnlyTheBeginningOfAResultIsCutOff(t *testing.T) {
	whole := `{"key":"a"}` + "\n"
	for tail, ours := range map[string]bool{
		`{`: true, `{"ke`: true, `{"key":"`: true, `{"key":"b","id":"1`: true,
		`{"path":"/a"`: false, `notes`: false, ` {"key":"b"`: false,
	} {
		err := checkTorn("out", strings.NewReader(whole+tail), &tasks.TornLineError{Line: 2, Offset: int64(len(whole))})
		if (err == nil) != ours {
			t.Errorf("%q: %v, want it cut off: %t", tail, err, ours)
		}
	}
}
