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
		got, ok := policy.NumericCode(literal)
		if !ok {
			return
		}
		want, _ := new(big.Rat).SetString(literal)
		have, valid := new(big.Rat).SetString(got)
		if !valid || have.Cmp(want) != 0 {
			t.Fatalf("%s became %s, which is another number", literal, got)
		}
		if again, _ := policy.NumericCode(got); again != got {
			t.Fatalf("%s became %s, which became %s", literal, got, again)
		}
		if strings.ContainsAny(got, "eE+") || want.IsInt() && strings.Contains(got, ".") || !json.Valid([]byte(got)) {
			t.Fatalf("%s became %s, which is not canonical", literal, got)
		}
	})
}
