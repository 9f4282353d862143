package filerun

import (
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/tasks"
)

// A run that was killed may leave the beginning of a line, even of a few bytes. Any other
// text was not written by callq and must not be cut off.
func TestOnlyAnIncompleteResultIsCutOff(t *testing.T) {
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
