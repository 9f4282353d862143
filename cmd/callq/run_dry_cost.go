package main

import (
	"fmt"
	"math/big"
	"strings"
)

// addCosts adds the costs to a forecast. An amount without a currency is added to the
// amounts of the other currency, if there is just one; then no currency is named.
func (f *forecast) addCosts() {
	costs := f.estimate.Costs
	switch {
	case len(f.estimate.Unpriced) > 0:
		f.costLine = fmt.Sprintf("Cost: unknown; give %s a price, as in cost: {per_call: 0.01}.", strings.Join(f.estimate.Unpriced, ", "))
		return
	case len(costs) == 0:
		return
	}
	var parts []string
	sum := new(big.Rat)
	for _, c := range costs {
		parts = append(parts, strings.TrimSpace(moneyText(c.Amount)+" "+c.Currency))
		sum.Add(sum, c.Amount)
	}
	if len(costs) == 1 || len(costs) == 2 && costs[0].Currency == "" {
		text := moneyText(sum)
		f.Cost = &text
		if len(costs) == 2 {
			parts = []string{text}
		} else if c := costs[0].Currency; c != "" {
			f.Currency = &c
		}
	}
	f.costLine = fmt.Sprintf("Cost: %s, by cost.per_call of the configuration; retries may add to it.", strings.Join(parts, " and "))
}

// moneyText formats an amount with two decimals, or as many as are needed.
func moneyText(amount *big.Rat) string {
	text := amount.FloatString(6)
	for text[len(text)-1] == '0' && text[len(text)-3] != '.' {
		text = text[:len(text)-1]
	}
	return text
}
