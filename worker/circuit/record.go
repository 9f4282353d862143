package circuit

import (
	"time"

	"github.com/seed-2903acc3/callq/tasks/redislua"
	"github.com/seed-2903acc3/callq/worker/limit"
)

// recordFromHash returns a record as the scripts write it.
func recordFromHash(n Name, h map[string]string) Record {
	num := func(field string) int64 { return redislua.Integer(h[field]) }
	at := func(field string) time.Time { return redislua.Milli(h[field]) }
	r := Record{
		Name: n, State: State(h["state"]), Epoch: num("epoch"), Until: at("until"), Since: at("since"), HeldFrom: at("held_from"),
		Rung: int(num("rung")), Streak: int(num("streak")), Failed: int(num("failed")), Probing: h["token"] != "",
		Refused: h["refused"], Next: h["next"], Convicted: h["convicted"],
		Reason: h["reason"], Hold: h["hold"], Source: h["source"], Class: h["class"], Code: h["code"],
		Message: h["message"], CorrelationID: h["correlation_id"], Trace: h["trace"], Fault: h["fault"], Who: h["who"], Note: h["note"],
		Limited: at("limited"), LimitedBy: h["limited_by"], LimitedText: h["limited_text"], LimitTurns: h["limited_turn"] == "1",
		LimitOfAPI: limit.OfAPI(h["limited_key"]),
	}
	if r.State == "" {
		r.State = Closed
	}
	if h["lim_key"] != "" {
		r.lastLimit = Hold{
			From: at("lim_from"), To: at("lim_to"), Held: time.Duration(max(num("lim_held"), 0)) * time.Millisecond,
			Reason: h["lim_by"], Rule: h["lim_text"],
		}
	}
	return r
}
