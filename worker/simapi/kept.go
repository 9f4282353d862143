package simapi

import (
	"net/http"
	"time"
)

// maxKept is how many answers are kept by Idempotency-Key; the oldest ones go first.
const maxKept = 100_000

// keptAnswer is the answer to the first call with an Idempotency-Key.
type keptAnswer struct {
	target   uint64
	seq      int64
	made     time.Time
	answer   answer
	inFlight bool
}

// keptAnswers are the answers of an API that sends them again. The Server's mutex guards them.
type keptAnswers struct {
	byKey map[string]*keptAnswer
	order []string
}

// Names of the replies to a key that cannot be answered again.
const (
	keyInUse      = "idempotency-in-use"
	keyOfAnother  = "idempotency-mismatch"
	labelReplayed = "replayed"
)

// keyOf is the key whose answer is kept; "" for a call whose answer is not.
func (p *api) keyOf(r *http.Request) string {
	if p == nil || !p.keepsAnswers || r.Method != http.MethodPost {
		return ""
	}
	return r.Header.Get("Idempotency-Key")
}

// replay answers a call whose key is known.
func (k *keptAnswers) replay(p *api, v *visit, key string) bool {
	first := k.byKey[key]
	switch {
	case first == nil:
		return false
	case first.target != v.target.hash:
		v.answer = p.answerNamed(keyOfAnother, 0)
	case first.inFlight:
		v.answer = p.answerNamed(keyInUse, 0)
	default:
		v.answer, v.replayOf, v.made = first.answer, first.seq, first.made
		v.answer.label = labelReplayed
	}
	return true
}

// keep notes the answer to a call with a new key, unless the call was refused before its work.
func (k *keptAnswers) keep(v *visit, key string, now time.Time) {
	a := v.answer
	switch a.kind {
	case kindResetAfter, kindCut: // the work was done, and the answer is known to the API
		a.kind = kindOK
	}
	if key == "" || a.reply == nil || a.reply.beforeWork {
		return
	}
	if k.byKey == nil {
		k.byKey = map[string]*keptAnswer{}
	}
	if len(k.order) >= maxKept {
		delete(k.byKey, k.order[0])
		k.order = k.order[1:]
	}
	k.byKey[key] = &keptAnswer{target: v.target.hash, seq: v.seq, made: now, answer: a, inFlight: true}
	k.order = append(k.order, key)
	v.key = key
}

// answered notes that the call with this key is no longer in flight.
func (k *keptAnswers) answered(key string) {
	if first := k.byKey[key]; key != "" && first != nil {
		first.inFlight = false
	}
}
