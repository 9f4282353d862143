package worker

import (
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/upstream"
)

func TestAnAddressIsHeldForAPersonOnlyIfItsFirstCallsAllFailAlike(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		w := workerWithCalls(t, rdb, 1, 0)
		fail := func(call int, how policy.Transport) policy.Class {
			inflight := &inflightCall{account: w.accounts["api"], delivery: &ledger.Delivery{Record: ledger.Record{ID: fmt.Sprint(call)}}}
			a := attempted{Answer: upstream.Answer{Outcome: policy.Outcome{Transport: how}}}
			a.decision.Class = policy.ClassTransient
			w.unreached(t.Context(), inflight, &a)
			return a.decision.Class
		}
		call := 0
		for _, last := range []policy.Transport{policy.TransportResetBeforeSend, policy.TransportDial} {
			for range firstCalls - 1 {
				if call++; fail(call, policy.TransportDial) != policy.ClassTransient {
					t.Fatalf("call %d already holds the address", call)
				}
			}
			held := last == policy.TransportDial
			if call++; (fail(call, last) == policy.ClassConfig) != held {
				t.Errorf("%d calls fail to dial, then one by %s: held for a person %t, want %t", firstCalls-1, last, !held, held)
			}
		}
	})
}
