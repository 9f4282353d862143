package schedule

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/policy/calendar"
)

// FuzzState parses records as anybody who can write to Redis may write them.
func FuzzState(f *testing.F) {
	every, err := calendar.New("* * * * *", "UTC")
	if err != nil {
		f.Fatal(err)
	}
	f.Add("1795601455500", "", `{"tick":"2026-01-02T03:04:05Z","batch":"b"}`, `{"count":1}`)
	f.Add("-9223372036854775808", "9223372036854775807", "null", "[]")
	f.Add("0", "1e3", `{"tick":"9999-12-31T23:59:59-23:00"}`, `{"count":-1,"first":""}`)
	f.Add("253402300799999", "\xff", "{", "{}")
	f.Fuzz(func(t *testing.T, until, sending, sent, missed string) {
		st, err := parseState(map[string]string{fieldUntil(every): until, fieldSending: sending, fieldSent: sent, fieldMissed: missed}, every)
		if err != nil {
			return
		}
		now := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
		if st.Until.After(time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)) { // a longer gap takes as many steps as it has ticks
			_ = st.Overdue(every, now)
		}
		for _, at := range []time.Time{st.Until, st.Sending} {
			if _, err := json.Marshal(at); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestATimeOutOfRangeIsAnError(t *testing.T) {
	every, err := calendar.New("* * * * *", "UTC")
	if err != nil {
		t.Fatal(err)
	}
	// The ticks since then are counted one by one, which would never end.
	for _, until := range []string{"-9223372036854775808", "-1", "253402300800000", "9223372036854775807", "x", "1e3"} {
		if st, err := parseState(map[string]string{fieldUntil(every): until}, every); err == nil {
			t.Errorf("%s is read as %v", until, st.Until)
		}
	}
}
