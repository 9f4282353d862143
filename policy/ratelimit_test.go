package policy

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestAResetIsAWaitOrATimeDependingOnItsSize(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"0":             0,
		"-1":            0,
		"60":            time.Minute,
		"0.25":          250 * time.Millisecond,
		"36400":         36400 * time.Second,
		"2678400":       31 * 24 * time.Hour,
		"3600000":       time.Hour,
		"86400000":      24 * time.Hour,
		"1772366460":    time.Minute,
		"1772366460.5":  time.Minute + 500*time.Millisecond,
		"1772366460000": time.Minute,
		"1772366340":    -time.Minute,
		"30, 3600":      time.Hour,
		"30;w=60":       30 * time.Second,
		"soon, 30":      30 * time.Second,
		" 30 ":          30 * time.Second,
	} {
		for _, name := range []string{"RateLimit-Reset", "X-RateLimit-Reset"} {
			if got, ok := resetOf(headers(name, value)); !ok || got != want {
				t.Errorf("%s: %s: got %s %v, want %s", name, value, got, ok, want)
			}
		}
	}
	for _, value := range []string{"", "soon", ",", "2026-03-01", "0x10"} {
		if got, ok := resetOf(headers("X-RateLimit-Reset", value)); ok {
			t.Errorf("%q gives a wait of %s, want none", value, got)
		}
	}
	if got, ok := resetOf(headers("X-RateLimit-Reset", strings.Repeat("9", 400))); !ok || got < 1000*time.Hour {
		t.Errorf("a number that is too large: got %s %v", got, ok)
	}
}

func TestOneResetForSeveralLimitsCountsIfAnyLimitIsUsedUp(t *testing.T) {
	for _, remaining := range []string{"0, 10", "10, 0"} {
		h := headers("X-RateLimit-Remaining", remaining, "X-RateLimit-Reset", "60")
		if got, ok := resetOf(h); !ok || got != time.Minute {
			t.Errorf("with %s left: got %s %v, want 1m", remaining, got, ok)
		}
	}
	if got, ok := resetOf(headers("X-RateLimit-Remaining", "10, 20", "X-RateLimit-Reset", "60")); ok {
		t.Errorf("limits that are not used up give a wait of %s, want none", got)
	}
}

func TestTheRateLimitFieldGivesTheUsedUpLimitsReset(t *testing.T) {
	for value, want := range map[string]time.Duration{
		`"name";r=0;t=36400`:                              36400 * time.Second,
		`"burst";r=0;t=5, "daily";r=100;t=36400`:          5 * time.Second,
		`"burst";r=0;t=5, "daily";r=0;t=36400`:            36400 * time.Second,
		`"a";t=50`:                                        50 * time.Second,
		`"a\"b;r=9";pk=:cHN0:;r=0;  t=7`:                  7 * time.Second,
		`token;r=0;t=7;t=8`:                               8 * time.Second,
		`("a" "b";x);r=0;t=9`:                             9 * time.Second,
		`"a";r=0;t=1.5;b;c=?0;d=@1659578233;e=%"f%c3%bc"`: 1500 * time.Millisecond,
		`"a";r=0;t=1772366460`:                            time.Minute,
		`"a";r=0, "b";r=0;t=3`:                            3 * time.Second,
	} {
		if got, ok := resetOf(headers("RateLimit", value)); !ok || got != want {
			t.Errorf("%s: got %s %v, want %s", value, got, ok, want)
		}
	}
	two := headers("RateLimit", `"a";r=0;t=3`, "RateLimit", `"b";r=0;t=4`, "X-RateLimit-Reset", "9")
	if got, _ := resetOf(two); got != 4*time.Second {
		t.Errorf("two lines: got %s, want 4s", got)
	}
}

func TestARateLimitFieldThatIsMalformedOrNotUsedUpGivesNoWait(t *testing.T) {
	for _, value := range []string{
		// A limit that is not used up is not a reason to wait.
		`"default";r=50;t=30`, `"a";r=1;t=50, "b";r=2;t=40`,
		``, ` `, `"a"`, `"a";r=0`, `"a;r=0;t=5`, `"a";r=0;t=5,`, `"a";r=0;t=5 "b"`, `"a";R=0;t=5`, `"a";r=0;t="5"`, `;t=5`,
		`"a";r=0;t=`, `"a";r=0;t=5.`, `"a";r=0;t=1.2345`, `"a";r=0;t=1.2.3`, `"a";r=0;t=1234567890123456`, `"a\n";r=0;t=5`, "\"a\x01\";t=5", `("a";t=5`, `("a""b");t=5`,
		`"a";x=?2;t=5`, `"a";x=:?:;t=5`, `"a";x=@a;t=5`, `"a";x=@@5;t=5`, `"a";x=%5;t=5`, `"a";x=-;t=5`, `"a";t`, `!;t=5`,
		`"a";t=5` + strings.Repeat(" ", maxField) + `,`,
	} {
		if got, ok := resetOf(headers("RateLimit", value)); ok {
			t.Errorf("%.60s gives a wait of %s, want none", value, got)
		}
	}
	broken := headers("RateLimit", `"a`, "RateLimit-Reset", "9")
	if got, ok := resetOf(broken); !ok || got != 9*time.Second {
		t.Errorf("the next field is not read: got %s %v", got, ok)
	}
}

func FuzzRateLimit(f *testing.F) {
	for _, value := range []string{"0", "60", "1772366460", "1772366460000", "99999999999999999999", "-1", "1.5", "30, 60",
		`"name";r=0;t=36400`, `"a";r=0;t=5, "b";r=1;t=6`, `("a" "b");r=0;t=9`, `"a\"";x=:cHN0:;t=@5`, `"a;t=5`, "\x00",
		`"a";r=0;t=999999999999999`, strings.Repeat("(", 100)} {
		f.Add(value, value)
	}
	h := Hold{Sources: []Source{SourceRateLimitReset}, Max: 25 * time.Hour}
	f.Fuzz(func(t *testing.T, field, reset string) {
		checkUntil(t, h, Outcome{Header: http.Header{"Ratelimit": {field}}, ReceivedAt: noon})
		checkUntil(t, h, Outcome{Header: http.Header{"Ratelimit": {field, reset}, "X-Ratelimit-Reset": {reset}}, ReceivedAt: noon})
	})
}

// resetOf returns what rateLimitReset reads in the header of an answer that arrived at
// noon.
func resetOf(h http.Header) (time.Duration, bool) {
	given, ok := rateLimitReset(h, noon)
	return given.Wait, ok
}
