package config

import (
	"slices"
	"strings"

	"github.com/seed-2903acc3/callq/policy/yamlfile"
	"github.com/seed-2903acc3/callq/worker/limit"
)

// Limit is one entry of an upstream's limits.
type Limit struct {
	limit.Limit
	// Pos is where it was written.
	Pos yamlfile.Pos
}

// Budget is one entry of an upstream's budget.
type Budget struct {
	limit.Budget
	// Pos is where it was written.
	Pos yamlfile.Pos
}

// Cost says what a call costs.
type Cost struct {
	// PerCallMicros is the price of a call in millionths of the currency.
	PerCallMicros int64
	// Header is the answer's header with the amount that was billed. It may be empty.
	Header string
}

// checkBudgets checks that the budgets are possible. Money is reserved before a call is
// sent, so the highest price of a call must be known.
func (d *decoder) checkBudgets(u *Upstream, path string) {
	currency := ""
	for _, b := range u.Budget {
		switch {
		case b.Currency == "":
			continue
		case currency != "" && b.Currency != currency:
			d.Failf(b.Pos, "%s.budget: %q is in another currency than %s; a call has one price, so use one currency", path, b.Text, currency)
		case u.Cost == nil || u.Cost.PerCallMicros == 0:
			d.Failf(b.Pos, "%s.budget: %q needs the highest price of a call; add it, as in cost: {per_call: 0.01}", path, b.Text)
		case b.Micros < u.Cost.PerCallMicros:
			d.Failf(b.Pos, "%s.budget: %q is less than the price of one call (cost.per_call: %s), so no call could ever be sent; raise the budget, or correct per_call",
				path, b.Text, amountText(u.Cost.PerCallMicros))
		}
		currency = b.Currency
	}
}

// amountText formats an amount without zeros at its end.
func amountText(micros int64) string {
	return strings.TrimSuffix(strings.TrimRight(limit.FormatMicros(micros), "0"), ".")
}

func (d *decoder) limits(e yamlfile.Value) []Limit {
	if e.Kind() == yamlfile.KindString {
		if text, _ := e.AnyText(); text == "adaptive" {
			return []Limit{{Limit: limit.Limit{Text: text, Adaptive: true}, Pos: e.Pos()}}
		}
	}
	var limits []Limit
	e.List(func(e yamlfile.Value) {
		text, ok := d.plain(e)
		if !ok {
			return
		}
		parsed, err := limit.Parse(text)
		at := e.Pos()
		switch {
		case err != nil:
			d.Failf(at, "%s: %q %v", e.Path(), text, err)
			return
		case parsed.Adaptive && slices.ContainsFunc(limits, func(l Limit) bool { return l.Adaptive }):
			d.Failf(at, "%s: adaptive appears twice; remove one of them", e.Path())
			return
		}
		limits = append(limits, Limit{Limit: parsed, Pos: at})
	})
	return limits
}

func (d *decoder) budget(e yamlfile.Value) []Budget {
	var budgets []Budget
	e.List(func(e yamlfile.Value) {
		text, ok := d.plain(e)
		if !ok {
			return
		}
		parsed, err := limit.ParseBudget(text)
		at := e.Pos()
		if err != nil {
			d.Failf(at, "%s: %q %v", e.Path(), text, err)
			return
		}
		budgets = append(budgets, Budget{Budget: parsed, Pos: at})
	})
	return budgets
}

func (d *decoder) cost(e yamlfile.Value) *Cost {
	var cost Cost
	e.Mapping(yamlfile.Fields{
		"per_call": func(e yamlfile.Value) {
			if kind := e.Kind(); kind != yamlfile.KindInt && kind != yamlfile.KindFloat {
				e.FailType("a number, as in 0.01")
				return
			}
			text, _ := e.Scalar()
			micros, err := limit.ParseMicros(text)
			if err != nil {
				d.Failf(e.Pos(), "%s: %s %v", e.Path(), text, err)
			}
			cost.PerCallMicros = micros
		},
		"header": func(e yamlfile.Value) {
			if value, ok := d.plain(e); ok {
				d.check(e.Pos(), e.Path(), value, checkToken)
				cost.Header = value
			}
		},
	})
	return &cost
}
