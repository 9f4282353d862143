package circuit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redislua"
)

const (
	// HoldsKept is how many holds that are over Redis keeps for each upstream: the latest
	// ones. A hold by an endpoint's circuit counts like one by the account's.
	HoldsKept = 500
	// HoldsKeptFor is for how long they are kept after the last of them has ended.
	HoldsKeptFor = 90 * 24 * time.Hour
)

// Hold is a time in which no call of an account, or of one endpoint, was sent, except as
// a probe.
type Hold struct {
	// Circuit is the account or the endpoint.
	Circuit Name
	// From is when it began, To when it ended; zero while it goes on. Both are Redis's
	// clock.
	From, To time.Time
	// Held is for how long calls were held meanwhile. It is less than the whole time for a
	// limit that allowed a call now and then.
	Held time.Duration
	// Reason is quota, rate, permission, credential, outage, operator, limit or budget.
	Reason string
	// Class, Code, Message and CorrelationID are from the answer that began it.
	Class, Code, Message, CorrelationID string
	// FailedProbes is how many probes failed in a row.
	FailedProbes int
	// Who is the operator that began it, and Note the reason that they gave.
	Who, Note string
	// Rule is the limit or the budget as it was written.
	Rule string
}

// loggedHold is a hold as lua/holdlog.lua writes it.
type loggedHold struct {
	Circuit       string `json:"circuit"`
	From          string `json:"from"`
	To            string `json:"to"`
	Held          string `json:"held"`
	Reason        string `json:"reason"`
	Class         string `json:"class"`
	Code          string `json:"code"`
	Message       string `json:"message"`
	CorrelationID string `json:"correlation_id"`
	Failed        string `json:"failed"`
	Who           string `json:"who"`
	Note          string `json:"note"`
	Text          string `json:"text"`
}

// Holds returns the holds of an upstream that Redis knows, the oldest first: the last
// [HoldsKept] that are over, and those that go on. now is Redis's clock.
func (s *Store) Holds(ctx context.Context, upstream string, now time.Time) ([]Hold, error) {
	lines, err := s.rdb.LRange(ctx, redislua.HoldsKey(upstream), 0, HoldsKept-1).Result()
	if err != nil && !errors.Is(err, redis.Nil) && !redis.HasErrorPrefix(err, "WRONGTYPE") {
		return nil, fmt.Errorf("read the holds of %s: %w", upstream, err)
	}
	var list []Hold
	for _, line := range lines {
		var l loggedHold
		if json.Unmarshal([]byte(line), &l) == nil { // callq did not write another line
			list = append(list, l.hold(upstream))
		}
	}
	records, err := s.Watch(ctx, []string{upstream})
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		list = append(list, r.holds(now)...)
	}
	list = slices.DeleteFunc(list, func(h Hold) bool { return h.From.IsZero() || !h.To.IsZero() && h.To.Before(h.From) })
	slices.SortStableFunc(list, func(a, b Hold) int { return a.From.Compare(b.From) })
	return list, nil
}

func (l loggedHold) hold(upstream string) Hold {
	h := Hold{
		Circuit: Name{Upstream: upstream}, From: redislua.Milli(l.From), To: redislua.Milli(l.To),
		Held: time.Duration(redislua.Integer(l.Held)) * time.Millisecond, Reason: l.Reason,
		Class: l.Class, Code: l.Code, Message: strings.ToValidUTF8(l.Message, "\uFFFD"), CorrelationID: l.CorrelationID,
		FailedProbes: int(redislua.Integer(l.Failed)), Rule: strings.ToValidUTF8(l.Text, "\uFFFD"),
	}
	if endpoint, ok := strings.CutPrefix(l.Circuit, h.Circuit.keys()[0]+"~"); ok {
		h.Circuit.Endpoint = strings.Replace(endpoint, "~", " ", 1)
	}
	if h.Reason == reasonOperator {
		h.Who, h.Note = l.Who, strings.ToValidUTF8(l.Note, "\uFFFD")
	}
	h.Held = min(max(h.Held, 0), max(h.To.Sub(h.From), 0))
	return h
}

// reasonOperator is the reason of a hold that an operator began.
const reasonOperator = "operator"

// holds returns the holds that the log does not have yet: that of an open circuit, and the
// last one by a limit.
func (r Record) holds(now time.Time) (list []Hold) {
	if r.State == Open {
		h := Hold{
			Circuit: r.Name, From: r.HeldFrom, Reason: r.Reason, Class: r.Class, Code: r.Code, Message: r.Message,
			CorrelationID: r.CorrelationID, FailedProbes: r.Failed,
		}
		if h.From.IsZero() {
			h.From = r.Since
		}
		if h.Reason == reasonOperator {
			h.Who, h.Note = r.Who, r.Note
		}
		h.Held = max(now.Sub(h.From), 0)
		list = append(list, h)
	}
	if l := r.lastLimit; !l.From.IsZero() {
		if l.To.After(now) {
			l.Held, l.To = max(l.Held-l.To.Sub(now), 0), time.Time{}
		}
		l.Circuit = r.Name
		list = append(list, l)
	}
	return list
}
