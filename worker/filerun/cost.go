package filerun

import (
	"maps"
	"math/big"
	"slices"

	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/limit"
)

// addCosts computes the exact costs of the calls.
func (e *Estimate) addCosts(upstreams []worker.Upstream) error {
	priced := false
	amounts := map[string]*big.Rat{}
	for _, u := range upstreams {
		n := e.callsTo(u.Name)
		if n == 0 && len(e.Endpoints) > 0 {
			continue
		}
		priced = priced || u.CostPerCall != "" || u.CostHeader != ""
		micros := int64(0)
		if u.CostPerCall != "" {
			var err error
			if micros, err = limit.ParseMicros(u.CostPerCall); err != nil {
				return err
			}
		}
		if micros == 0 {
			e.Unpriced = append(e.Unpriced, u.Name)
			continue
		}
		currency, err := currencyOf(u)
		if err != nil {
			return err
		}
		if amounts[currency] == nil {
			amounts[currency] = new(big.Rat)
		}
		amounts[currency].Add(amounts[currency], new(big.Rat).Mul(big.NewRat(micros, 1_000_000), new(big.Rat).SetInt64(n)))
	}
	if !priced {
		e.Unpriced = nil
		return nil
	}
	for _, currency := range slices.Sorted(maps.Keys(amounts)) {
		e.Costs = append(e.Costs, Cost{Currency: currency, Amount: amounts[currency]})
	}
	return nil
}

// currencyOf returns the currency of the budgets of an upstream, which have at most one.
func currencyOf(u worker.Upstream) (string, error) {
	for _, text := range u.Budget {
		b, err := limit.ParseBudget(text)
		if err != nil {
			return "", err
		}
		if b.Currency != "" {
			return b.Currency, nil
		}
	}
	return "", nil
}
