package circuit

import (
	"encoding/json"
	"testing"
	"time"
)

// FuzzRecord reads records of circuits with values that another client of Redis may have
// written.
func FuzzRecord(f *testing.F) {
	f.Add("state", "open", "until", "1795601455500", "message", "over quota")
	f.Add("state", "\xff", "until", "9223372036854775807", "since", "-9223372036854775808")
	f.Add("epoch", "99999999999999999999", "limited", "1e3", "rung", "x")
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2, name3, value3 string) {
		r := recordFromHash(Name{Upstream: "a"}, map[string]string{name1: value1, name2: value2, name3: value3})
		if r.State == "" {
			t.Error("the record has no state")
		}
		_ = r.Held(time.Now())
		for what, at := range map[string]time.Time{"until": r.Until, "since": r.Since, "limited": r.Limited} {
			if _, err := json.Marshal(at); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{"a", "a~GET~/b/*", "~GET~/", "a~~/", "a~GET~b", "a~GET~/b~c", "\xff~\x00~/", "a~GET /b~/c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseName(s)
		if err != nil {
			return
		}
		if n.String() != s {
			t.Errorf("%q: got %+v, which is written as %q", s, n, n)
		}
	})
}
