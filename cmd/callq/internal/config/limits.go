package config

import (
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/seed-2903acc3/callq/worker/limit"
)

// Limit is one entry of an upstream's limits.
type Limit struct {
	limit.Limit
	// Pos is where it was written.
	Pos Pos
}

// Budget is one entry of an upstream's budget.
type Budget struct {
	limit.Budget
	// Pos is where it was written.
	Pos Pos
}

// Cost says what a call costs.
type Cost struct {
	// PerCallMicros is the price of a call in millionths of the currency.
	PerCallMicros int64
	// Header names the answer's header that tells what was billed, or is empty.
	Header string
}

// afford checks that the budgets can be kept: money is reserved before a call is
// sent, so the most that one can cost must be known.
func (d *decoder) afford(u *Upstream, path string) {
	currency := ""
	for _, b := range u.Budget {
		switch {
		case b.Currency == "":
			continue
		case currency != "" && b.Currency != currency:
			d.fail(b.Pos, "%s.budget: %q is in another currency than %s; a call has one price, so keep one currency", path, b.Text, currency)
		case u.Cost == nil || u.Cost.PerCallMicros == 0:
			d.fail(b.Pos, "%s.budget: %q cannot be kept without the most that a call costs; add it, as in cost: {per_call: 0.01}", path, b.Text)
		case b.Micros < u.Cost.PerCallMicros:
			d.fail(b.Pos, "%s.budget: %q is less than one call costs (cost.per_call: %s), so that no call could ever be sent; raise the budget, or correct per_call",
				path, b.Text, amountText(u.Cost.PerCallMicros))
		}
		currency = b.Currency
	}
}

// amountText is an amount as people write it.
func amountText(micros int64) string {
	return strings.TrimSuffix(strings.TrimRight(limit.FormatMicros(micros), "0"), ".")
}

func (d *decoder) limits(e entry) []Limit {
	if node, ok := e.node.(*ast.StringNode); ok && node.Value == "adaptive" {
		return []Limit{{Limit: limit.Limit{Text: node.Value, Adaptive: true}, Pos: d.pos(node)}}
	}
	var limits []Limit
	d.list(e, func(e entry) {
		text, ok := d.plain(e)
		if !ok {
			return
		}
		parsed, err := limit.Parse(text)
		at := d.pos(e.node)
		switch {
		case err != nil:
			d.fail(at, "%s: %q %v", e.path, text, err)
			return
		case parsed.Adaptive && slices.ContainsFunc(limits, func(l Limit) bool { return l.Adaptive }):
			d.fail(at, "%s: adaptive is there twice; keep one of them", e.path)
			return
		}
		limits = append(limits, Limit{Limit: parsed, Pos: at})
	})
	return limits
}

func (d *decoder) budget(e entry) []Budget {
	var budgets []Budget
	d.list(e, func(e entry) {
		text, ok := d.plain(e)
		if !ok {
			return
		}
		parsed, err := limit.ParseBudget(text)
		at := d.pos(e.node)
		if err != nil {
			d.fail(at, "%s: %q %v", e.path, text, err)
			return
		}
		budgets = append(budgets, Budget{Budget: parsed, Pos: at})
	})
	return budgets
}

func (d *decoder) cost(e entry) *Cost {
	var cost Cost
	d.mapping(e, fields{
		"per_call": func(e entry) {
			var text string
			switch node := e.node.(type) {
			case *ast.IntegerNode:
				text = node.Token.Value
			case *ast.FloatNode:
				text = node.Token.Value
			default:
				d.wrongType(e, "a number, as in 0.01")
				return
			}
			micros, err := limit.ParseMicros(text)
			if err != nil {
				d.fail(d.pos(e.node), "%s: %s %v", e.path, text, err)
			}
			cost.PerCallMicros = micros
		},
		"header": func(e entry) {
			if value, ok := d.plain(e); ok {
				d.checkNow(d.pos(e.node), e.path, value, checkToken7230)
				cost.Header = value
			}
		},
	})
	return &cost
}
