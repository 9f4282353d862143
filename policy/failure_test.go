package policy

import (
	"errors"
	"io"
	"testing"
	"time"
)

func TestAFailureIsJudgedLikeAnAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		failure    Failure
		idempotent bool
		class      Class
		job        Action
	}{
		"never left":             {Failure{Err: io.EOF}, false, ClassTransient, ActionRetry},
		"maybe sent":             {Failure{MaybeSent: true}, false, ClassOutcomeUnknown, ActionDeadLetter},
		"maybe sent, safe":       {Failure{MaybeSent: true}, true, ClassTransient, ActionRetry},
		"a code alone":           {Failure{Code: "67200001", MaybeSent: true}, false, ClassQuota, ActionPark},
		"a code and a status":    {Failure{Status: 200, Code: "68300004.0"}, false, ClassBadParameter, ActionDrop},
		"a status":               {Failure{Status: 503, Code: "0"}, false, ClassTransient, ActionRetry},
		"a 2xx is no success":    {Failure{Status: 200}, true, ClassProtocol, ActionRetry},
		"a 2xx that may do harm": {Failure{Status: 200}, false, ClassOutcomeUnknown, ActionDeadLetter},
	} {
		d := preset(t, "patsnap").Decide(c.failure.Outcome(noon), Attempt{Idempotent: c.idempotent, N: 1})
		if d.Class != c.class || d.Action != c.job {
			t.Errorf("%s: %s, %s", name, d.Class, d.Action)
		}
	}
	if d := preset(t, "http").Decide((&Failure{Status: 200}).Outcome(noon), Attempt{Idempotent: true, N: 1}); d.Action != ActionRetry {
		t.Errorf("http treats a failure as a success: %+v", d)
	}
}

func TestTheRetryAfterOfAFailureEndsTheHold(t *testing.T) {
	for after, want := range map[time.Duration]time.Duration{
		30 * time.Second: 30 * time.Second, time.Millisecond: time.Second, 1500 * time.Millisecond: 2 * time.Second, -1: time.Minute, 0: time.Minute,
	} {
		o := (&Failure{Status: 429, RetryAfter: after}).Outcome(noon)
		hold, _ := preset(t, "http").Hold("quota")
		if until, _ := hold.Until(o, noon, 0, nil); until.Sub(noon) != want {
			t.Errorf("%s: got %s, want %s", after, until.Sub(noon), want)
		}
	}
}

func TestTheRetryAfterOfAFailureIsTheShortestRetryWait(t *testing.T) {
	for name, f := range map[string]Failure{
		"an answer": {Status: 503, RetryAfter: 25 * time.Second}, "none": {RetryAfter: 25 * time.Second}, "a code": {Code: "68300008", RetryAfter: 25 * time.Second},
	} {
		if d := preset(t, "patsnap").Decide(f.Outcome(noon), Attempt{N: 1}); d.Action != ActionRetry || d.LeastWait != 25*time.Second {
			t.Errorf("%s: got %+v", name, d)
		}
	}
}

func TestTheErrorOfAFailureContainsAllThatIsKnown(t *testing.T) {
	for want, f := range map[string]*Failure{
		"the call failed":                             {},
		"the call failed: EOF":                        {Err: io.EOF},
		"status 503, code 68300008: busy: EOF":        {Status: 503, Code: "68300008", Message: "busy", Err: io.EOF},
		"code 67200001: API call exceeds total limit": {Code: "67200001", Message: "API call exceeds total limit"},
	} {
		if f.Error() != want {
			t.Errorf("got %q, want %q", f.Error(), want)
		}
		if f.Err != nil && !errors.Is(f, f.Err) {
			t.Errorf("%q does not wrap the error underneath", want)
		}
	}
}
