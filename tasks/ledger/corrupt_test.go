package ledger

import (
	"encoding/json"
	"strconv"
	"testing"
	"time"
)

func FuzzRecord(f *testing.F) {
	f.Add("gen", "1", "attempts", "2", "origin", "hash 1795601455500 key")
	f.Add("gen", "01", "first", "9223372036854775807", "log", `[{"at":"2026-01-02T03:04:05Z","n":1}]`)
	f.Add("starts", "-9223372036854775808", "settled", "9223372036854775807", "out", `{"class":"ok","first_at":"9999-12-31T23:59:59-23:00","attempts":-5}`)
	f.Add("held_base", "1e400", "held_own", "-1", "lineage", `[{"gen":1,"ending":{"finished_at":"0000-01-01T00:00:00+23:59"}}]`)
	f.Add("ended", "99999999999999999", "parked_at", "\xff", "origin", "\xff\xfe  ")
	f.Add("log", `[null,{"n":1e99}]`, "lineage", `{`, "out", `[]`)
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2, name3, value3 string) {
		h := map[string]string{"state": "open", name1: value1, name2: value2, name3: value3}
		r := recordFromHash("q", "id", hashOf(h))
		for what, n := range map[string]int{
			"generation": r.Generation, "starts": r.Starts, "attempts": r.Attempts, "parked": r.Parked, "sent": r.Sent,
		} {
			if n < 0 || n+1 < n {
				t.Errorf("%s: %d", what, n)
			}
		}
		for what, d := range map[string]time.Duration{"held_base": r.HeldBase, "held_own": r.HeldOwn} {
			if d < 0 || d > maxHeld {
				t.Errorf("%s: %v", what, d)
			}
		}
		// A record can be written again, whatever was read.
		delivery := &Delivery{Record: r}
		if _, err := delivery.fields(&Attempt{At: time.Now()}); err != nil {
			t.Error(err)
		}
		ending := Ending{FirstAt: r.FirstAt, FinishedAt: r.EndedAt}
		if r.Ending != nil {
			ending = *r.Ending
		}
		for _, v := range []any{ending, r.Lineage, r.AcceptedAt, r.EndedAt, r.ParkedAt, append(r.Lineage, Former{Ending: ending})} {
			if _, err := json.Marshal(v); err != nil {
				t.Error(err)
			}
		}
		if corrupt(hashOf(h)) != "" {
			return
		}
		// A field that is not reported as corrupt is read as written.
		for field, n := range map[string]int{"gen": r.Generation, "attempts": r.Attempts, "parked": r.Parked, "sent": r.Sent} {
			if text, there := h[field]; there && r.Ending == nil && strconv.Itoa(n) != text {
				t.Errorf("%s %q was read as %d", field, text, n)
			}
		}
	})
}

func TestARecordsNumbersStayInRange(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, "x": 0, "-1": 0, "7": 7, "9223372036854775807": maxCount, "99999999999999999999": maxCount, "-9223372036854775808": 0, "1.5": 0,
	} {
		if got := count(text); got != want {
			t.Errorf("count(%q) is %d, want %d", text, got, want)
		}
	}
}
