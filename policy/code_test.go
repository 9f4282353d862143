package policy_test

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/seed-2903acc3/callq/policy"
)

func TestACodeKeepsItsValueInEverySpelling(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		literal := rapid.StringMatching(`-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,12})?([eE][+-]?[0-9]{1,2})?`).Draw(t, "literal")
		got := policy.CanonicalCode(literal)
		if got == "" {
			got = "0"
		}
		want, _ := new(big.Rat).SetString(literal)
		have, valid := new(big.Rat).SetString(got)
		if !valid || have.Cmp(want) != 0 {
			t.Fatalf("%s became %s, which is another number", literal, got)
		}
		if again := policy.CanonicalCode(got); again != got && got != "0" {
			t.Fatalf("%s became %s, which became %s", literal, got, again)
		}
		if got == literal && strings.ContainsAny(got, "eE") {
			return // too long to be written out
		}
		if strings.ContainsAny(got, "eE+") || want.IsInt() && strings.Contains(got, ".") || !json.Valid([]byte(got)) {
			t.Fatalf("%s became %s, which is not canonical", literal, got)
		}
	})
}
