package jsonform_test

import (
	"encoding/json"
	"testing"

	"github.com/seed-2903acc3/callq/worker/jsonform"
)

func TestACodeKeepsItsDigits(t *testing.T) {
	for text, want := range map[jsonform.Code]string{
		"": "null", "67200005": "67200005", "1.50": "1.50", "-1": "-1", "123456789012345678901234567890": "123456789012345678901234567890",
		"E42": `"E42"`, "true": `"true"`, "01": `"01"`, `"`: `"\""`,
	} {
		if got, err := json.Marshal(text); err != nil || string(got) != want {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
}
