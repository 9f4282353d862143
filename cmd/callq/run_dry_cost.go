package main

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
)

// price is what calls cost by cost.per_call.
type price struct {
	// micros are millionths by currency; that of an upstream whose budget names
	// none is empty.
	micros map[string]*big.Int
	// configured tells that a cost is configured for some of the calls, unpriced
	// are the upstreams with calls whose price is not known.
	configured bool
	unpriced   []string
}

// priceOf adds up what the calls cost, exactly.
func priceOf(cfg *config.Config, endpoints []*endpointCost) price {
	p := price{micros: map[string]*big.Int{}}
	calls := map[string]int64{}
	for _, e := range endpoints {
		calls[e.Upstream] += int64(e.Calls)
	}
	for _, u := range cfg.Upstreams {
		n := calls[u.Name]
		if n == 0 && len(endpoints) > 0 {
			continue
		}
		p.configured = p.configured || u.Cost != nil
		if u.Cost == nil || u.Cost.PerCallMicros == 0 {
			p.unpriced = append(p.unpriced, u.Name)
			continue
		}
		c := currencyOf(u)
		if p.micros[c] == nil {
			p.micros[c] = new(big.Int)
		}
		p.micros[c].Add(p.micros[c], new(big.Int).Mul(big.NewInt(u.Cost.PerCallMicros), big.NewInt(n)))
	}
	return p
}

// currencyOf is the currency of an upstream's budgets, which have one at most.
func currencyOf(u *config.Upstream) string {
	for _, b := range u.Budget {
		if b.Currency != "" {
			return b.Currency
		}
	}
	return ""
}

// fill writes the price into a forecast. Amounts that no budget gives a currency
// are taken to be in that of the others, if there is one; then it is not named.
func (p price) fill(f *forecast) {
	switch {
	case !p.configured:
		return
	case len(p.unpriced) > 0:
		f.costLine = fmt.Sprintf("Cost: unknown; give %s a price, as in cost: {per_call: 0.01}.", strings.Join(p.unpriced, ", "))
		return
	}
	currencies := slices.Sorted(maps.Keys(p.micros))
	var parts []string
	sum := new(big.Int)
	for _, c := range currencies {
		parts = append(parts, strings.TrimSpace(moneyText(p.micros[c])+" "+c))
		sum.Add(sum, p.micros[c])
	}
	if len(currencies) == 1 || len(currencies) == 2 && currencies[0] == "" {
		text := moneyText(sum)
		f.Cost = &text
		if len(currencies) == 2 {
			parts = []string{text}
		} else if c := currencies[0]; c != "" {
			f.Currency = &c
		}
	}
	f.costLine = fmt.Sprintf("Cost: %s, by cost.per_call of the configuration; retries may add to it.", strings.Join(parts, " and "))
}

// moneyText writes millionths with two decimals, or as many as are needed.
func moneyText(micros *big.Int) string {
	text := new(big.Rat).SetFrac(micros, big.NewInt(1_000_000)).FloatString(6)
	for text[len(text)-1] == '0' && text[len(text)-3] != '.' {
		text = text[:len(text)-1]
	}
	return text
}
