package ledger

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// BenchmarkScripts measures the scripts of a call's way through the ledger, in
// microseconds that Redis's main thread takes for a call: claim and accept in steps of
// 512, dequeue and end in steps of 16.
func BenchmarkScripts(b *testing.B) {
	rdb := redistest.Redis(b).Client
	d := newFixture(b, rdb)
	const queue, batch, step = "api:default", "bench", 16
	var claim, accept, dequeue, end []time.Duration
	content := []byte(`{"v":2,"path":"/","method":"POST","kind":"noop","body":{"n":1,"text":"` + strings.Repeat("x", 85) + `"}}`)
	entries := make([]Entry, 0, 512)
	n := 0
	var script endScript
	for b.Loop() {
		entries = entries[:0]
		for range cap(entries) {
			key := strconv.Itoa(n)
			n++
			id := fmt.Sprintf("%s-%026d", batch, n)
			entries = append(entries, Entry{
				ID: id, Key: key, Hash: "QmFzZTY0aGFzaG9mdGhlY29u", Queue: queue, Content: content,
				Message: strings.Repeat("m", 70) + id + strings.Repeat("n", 40),
			})
		}
		var claimed []Claimed
		claim = append(claim, d.mainThread(func() (err error) { claimed, err = d.l.Claim(b.Context(), batch, entries); return err }))
		accept = append(accept, d.mainThread(func() error { _, err := d.l.Accept(b.Context(), batch, entries, claimed); return err }))
		var dequeued, ended time.Duration
		for done := 0; done < len(entries); {
			var taken []*Delivery // as many as a worker has inflight
			dequeued += d.mainThread(func() (err error) { taken, err = d.takeSteps(queue, 4, step); return err })
			ended += d.mainThread(func() error { return d.endSteps(&script, taken, step) })
			done += len(taken)
		}
		dequeue, end = append(dequeue, dequeued), append(end, ended)
	}
	for _, r := range []struct {
		name string
		took []time.Duration
	}{{"claim", claim}, {"accept", accept}, {"dequeue", dequeue}, {"end", end}} {
		slices.Sort(r.took)
		b.ReportMetric(float64(r.took[len(r.took)/2].Microseconds())/float64(cap(entries)), "µs-"+r.name+"/call")
	}
	b.ReportMetric(0, "ns/op")
}

// takeSteps takes calls with a number of requests for a number of calls each.
func (d *fixture) takeSteps(queue string, requests, step int) (taken []*Delivery, err error) {
	for range requests {
		got, err := d.dispatcher.Dequeue(d.Context(), DequeueRequest{
			Queues: []string{queue}, LeaseUntil: time.Now().Add(time.Minute).Unix(), Turn: time.Minute, More: make([]int, step-1),
		})
		if err != nil || got.Delivery == nil {
			return nil, fmt.Errorf("no call was taken: %w", err)
		}
		taken = append(append(taken, got.Delivery), got.More...)
	}
	return taken, nil
}

// endSteps ends calls, a number of them at once.
func (d *fixture) endSteps(script *endScript, taken []*Delivery, step int) error {
	final := Final{
		State: Done, Ending: Ending{Class: "ok", Attempts: 1, FirstAt: time.Now(), FinishedAt: time.Now()},
		Body: []byte(`{"status":true,"id":"US11234567B2","pages":12}`), BodyType: "application/json",
	}
	for together := range slices.Chunk(taken, step) {
		var closings []*closing
		for _, t := range together {
			e, err := closingOf(t, final, &Attempt{At: time.Now(), N: 1, Action: "succeed", Class: "ok"})
			if err != nil {
				return err
			}
			closings = append(closings, e)
		}
		if d.dispatcher.finish(d.Context(), script, taken[0].Queue, closings); closings[0].err != nil {
			return closings[0].err
		}
	}
	return nil
}

// mainThread returns how much processor time Redis's main thread took for a piece of work.
func (d *fixture) mainThread(work func() error) time.Duration {
	before := redistest.MainThread(d, d.rdb)
	d.must(work())
	return redistest.MainThread(d, d.rdb) - before
}
