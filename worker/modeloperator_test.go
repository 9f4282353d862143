package worker

import (
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

func (f *fleet) recoverAll(*rapid.T) { f.recover() }

// refresh makes a worker read the circuits' records, as each does every second.
func (f *fleet) refresh(t *rapid.T) { f.beginRefresh(f.awake(t)) }

// failOver makes Redis lose the account's record, which all workers have just
// read. One of them writes it back; until then wrong calls are not a failure.
func (f *fleet) failOver(t *rapid.T) {
	c := f.look(modelAccount)
	if c.epoch == 0 || f.keeper != nil {
		t.Skip("nothing to lose")
	}
	// A restore that is not sent yet has an older state than the one that would be lost now.
	if slices.ContainsFunc(f.steps, func(s *step) bool { return s.at == "restore" }) {
		t.Skip("not twice at once")
	}
	seldom(t)
	p := f.awake(t)
	for _, p := range f.procs {
		_, err := p.w.circuits.Refresh(f.ctx, probeLease, modelUpstream)
		f.must(err)
	}
	f.must(f.client.Del(f.ctx, f.key(modelAccount)).Err())
	f.logEvent("Redis has lost the account's record")
	f.log("it was %+v", c)
	f.keeper, f.lost = p, c.epoch
	f.beginRefresh(p)
}

// operate opens or closes a circuit as an operator.
func (f *fleet) operate(t *rapid.T) {
	if f.keeper != nil {
		t.Skip("not now")
	}
	seldom(t)
	name := rapid.SampledFrom(f.circuits).Draw(t, "circuit")
	f.logEvent("an operator opens or closes circuit %s", name)
	if rapid.Bool().Draw(t, "open") {
		f.must(f.operator.Open(f.ctx, f.names[name], time.Minute, "model", "operator"))
	} else {
		f.closeCircuit(name)
	}
	f.forgetProbe(name)
}

// rotate changes the credential, if the account is held because of it.
func (f *fleet) rotate() {
	r, err := f.operator.Get(f.ctx, f.names[modelAccount])
	f.must(err)
	ended, err := f.operator.EndHold(f.ctx, r)
	f.must(err)
	if ended {
		f.logEvent("the account has another credential")
	}
}

// closeCircuit closes a circuit; a limit that holds the account starts again from zero.
func (f *fleet) closeCircuit(name string) {
	if name == modelAccount {
		f.counters.forget(f.hget(f.key(name), "limited_key"))
	}
	f.must(f.operator.Close(f.ctx, f.names[name], "model", "operator"))
	f.forgetProbe(name)
}

func (f *fleet) pause(t *rapid.T) {
	seldom(t)
	queue := rapid.SampledFrom(tasks.Queues(modelUpstream)).Draw(t, "queue")
	key := "asynq:{" + queue + "}:paused"
	if f.paused[queue] = !f.paused[queue]; f.paused[queue] {
		f.must(f.client.Set(f.ctx, key, "the operator's", redis.KeepTTL).Err())
	} else {
		f.must(f.client.Del(f.ctx, key).Err())
	}
}

func (f *fleet) redrive(t *rapid.T) {
	seldom(t)
	id := rapid.SampledFrom(f.ids).Draw(t, "call")
	r, err := f.ledger.Get(f.ctx, f.calls[id].queue, id)
	f.must(err)
	if !r.State.Ended() || r.State == ledger.Done {
		t.Skip("nothing to redrive")
	}
	_, _, err = f.records.Redrive(f.ctx, r)
	f.must(err)
}

// changeAnswers changes how the API answers from now on.
func (f *fleet) changeAnswers(t *rapid.T) {
	if f.mood == "auth" && f.keeper == nil {
		f.rotate()
	}
	kinds := []string{"ok", "quota", "quota until", "quota soon", "rate", "transient", "auth", "permission", "silence"}
	f.mood = rapid.SampledFrom(kinds).Draw(t, "answer")
}

// circuitNames are the circuits of the model's account, by the names used here.
var circuitNames = map[string]circuit.Name{
	modelAccount: {Upstream: modelUpstream},
	"read":       {Upstream: modelUpstream, Endpoint: "JOB /read"},
	"write":      {Upstream: modelUpstream, Endpoint: "JOB /write"},
}
