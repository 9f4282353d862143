package config_test

import (
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
)

func TestABudgetBelowThePriceOfACallIsRefused(t *testing.T) {
	const upstream = "upstreams:\n  api:\n    base_url: https://api.example.com\n    policy: http\n"
	for text, want := range map[string]string{
		"    budget: [\"1 USD/month\"]\n    cost: {per_call: 5}\n":                   `callq.yaml:5:14: upstreams.api.budget: "1 USD/month" is less than the price of one call (cost.per_call: 5), `,
		"    cost: {per_call: 0.015}\n    budget: [\"9 calls/h\", \"0.01 USD/h\"]\n": `callq.yaml:6:27: upstreams.api.budget: "0.01 USD/h" is less than the price of one call (cost.per_call: 0.015), `,
		"    budget: [\"5 USD/month\"]\n    cost: {per_call: 5}\n":                   "",
		"    budget: [\"1 calls/month\"]\n    cost: {per_call: 5}\n":                 "",
	} {
		_, err := config.Parse("callq.yaml", []byte(upstream+text), config.Source{})
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
		}
	}
}
