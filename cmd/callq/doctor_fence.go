package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/records"
	"github.com/seed-2903acc3/callq/tasks/redisinfo"
	"github.com/seed-2903acc3/callq/tasks/redislua"
	"github.com/seed-2903acc3/callq/worker"
)

// maybeSent is a call that is open in a Redis that has gone back in time, but that may have
// been sent already.
type maybeSent struct {
	Batch    string `json:"batch"`
	Key      string `json:"key"`
	ID       string `json:"id"`
	Upstream string `json:"upstream"`
	Method   string `json:"method"`
	Path     string `json:"path"`
}

// linesOfMaybeSent is how many of these calls are printed. --json prints all.
const linesOfMaybeSent = 1000

// checkFence reports calls that must not be sent twice and that wait because Redis may have
// lost the record that they were sent. With --accept-restore it lets them start.
func checkFence(ctx context.Context, d *doctor) ([]diagnosis, error) {
	queues, err := d.backend.ledger.Queues(ctx)
	if err != nil {
		return nil, err
	}
	fences, err := ledger.NewFences(d.backend.conn.Client).States(ctx, queues...)
	if err != nil {
		return nil, err
	}
	if d.accept {
		return d.acceptRestore(ctx, queues, fences)
	}
	run, err := d.backend.runID(ctx)
	if err != nil {
		return nil, err
	}
	var list []diagnosis
	restarted := []string{}
	for _, f := range fences {
		switch {
		case f.Closed:
			list = append(list, diagnosis{
				Status: found, Detail: fmt.Sprintf("queue %s: Redis has gone back in time, and the records of %s are lost: calls that must not be sent twice have not started since %s",
					f.Queue, console.Plural(int(f.Missing()), "sent call"), timeText(f.Shut)),
				Fix: "list the calls that may have been sent, and let them start: " + d.next("doctor --accept-restore"),
			})
		case f.Wait > 0:
			list = append(list, diagnosis{
				Status: noted, Detail: fmt.Sprintf("queue %s: Redis was restarted or has failed over; for some seconds workers restore the records that it may have lost", f.Queue),
			})
		case run != "" && f.Run != "" && f.Run != run && !d.backend.clustered():
			restarted = append(restarted, f.Queue)
		}
	}
	if len(restarted) > 0 {
		list = append(list, diagnosis{
			Status: noted, Detail: fmt.Sprintf("Redis was restarted after the last send of %s (queue %s)", "a call that must not be sent twice", some(restarted)),
			Fix: "if it was restored from a backup, before a worker starts: " + d.next("doctor --accept-restore"),
		})
	}
	if run == "" {
		list = append(list, diagnosis{
			Status: noted, Detail: "Redis does not report when it was restarted (INFO): only workers that have newer records can notice that it has gone back in time",
			Fix: "let the user of callq run INFO: ACL SETUSER NAME +info",
		})
	}
	return orWell(list, "Redis has lost no record of a sent call, as far as its workers know"), nil
}

// runID returns the id of Redis's process, or "" if Redis does not report it.
func (d *backend) runID(ctx context.Context) (string, error) {
	facts, err := redisinfo.Inspect(ctx, d.conn.Client)
	if refused := redis.Error(nil); errors.As(err, &refused) {
		return "", nil
	}
	return facts.RunID, err
}

func (d *backend) clustered() bool { return redislua.Clustered(d.conn.Client) }

// acceptRestore lists the calls that may have been sent, asks, and lets them start.
func (d *doctor) acceptRestore(ctx context.Context, queues []string, fences []ledger.FenceState) ([]diagnosis, error) {
	if err := d.findMaybeSent(ctx, fences); err != nil {
		return nil, err
	}
	d.printMaybeSent()
	if console.IsTerminal(d.stdin) {
		question := "No call that must not be sent twice may have been sent before. Let the calls start?"
		if n := len(d.maybeSent); n > 0 {
			question = fmt.Sprintf("Let %s start, although %s may have been sent before?", console.Plural(n, "call"), map[bool]string{true: "it", false: "they"}[n == 1])
		}
		if err := d.confirm(d.yes, question); errors.Is(err, errDeclined) {
			return []diagnosis{{Status: noted, Detail: "nothing was accepted"}}, nil
		} else if err != nil {
			return nil, err
		}
	}
	if err := ledger.NewFences(d.backend.conn.Client).AcceptLoss(ctx, whoami(), queues...); err != nil {
		return nil, err
	}
	one := diagnosis{Status: healthy, Detail: "calls that must not be sent twice can start; none of the open calls may have been sent before"}
	if n := len(d.maybeSent); n > 0 {
		one.Status, one.Detail = repaired, fmt.Sprintf("calls that must not be sent twice can start, among them %s that may have been sent before", console.Plural(n, "call"))
	}
	return []diagnosis{one}, nil
}

// findMaybeSent finds open calls that must not be sent twice, have no mark that they were
// sent, and were accepted before Redis's last restart.
func (d *doctor) findMaybeSent(ctx context.Context, fences []ledger.FenceState) error {
	idempotent, err := d.idempotent()
	if err != nil {
		return err
	}
	run, err := d.backend.runID(ctx)
	if err != nil {
		return err
	}
	before := map[string]time.Time{}
	for _, f := range fences {
		if run == f.Run || d.backend.clustered() {
			before[f.Queue] = f.Since // otherwise no worker has noticed the restart yet
		}
		if !f.Shut.IsZero() {
			before[f.Queue] = f.Shut
		}
	}
	batches, err := d.backend.ledger.Batches(ctx)
	if err != nil {
		return err
	}
	d.maybeSent = []maybeSent{}
	for _, b := range batches {
		if b.Counts.Open == 0 {
			continue
		}
		for r, err := range d.backend.ledger.Unmarked(ctx, b.Name, tasks.TaskID) {
			if err != nil {
				return err
			}
			if at := before[r.Queue]; !at.IsZero() && r.AcceptedAt.After(at) {
				continue
			}
			c, err := records.Call(&r)
			if err != nil || idempotent(c) {
				continue
			}
			d.maybeSent = append(d.maybeSent, maybeSent{
				Batch: b.Name, Key: r.Key, ID: r.ID, Upstream: c.Upstream, Method: c.Method, Path: c.Path,
			})
		}
	}
	return nil
}

// idempotent returns a function that reports whether a call may be sent twice, by the
// configuration, or by the defaults for an upstream that is not configured.
func (d *doctor) idempotent() (func(tasks.Call) bool, error) {
	rules := map[string]func(tasks.Call) bool{}
	add := func(name string, u worker.Upstream) (err error) {
		rules[name], err = worker.IdempotentCalls(u)
		return err
	}
	policies, err := policiesOf(d.cfg)
	if err != nil {
		return nil, err
	}
	plain, err := policy.Preset("http")
	if err != nil {
		return nil, err
	}
	err = add("", worker.Upstream{Policy: plain, Idempotent: config.DefaultIdempotent()})
	for i, u := range d.cfg.Upstreams {
		w := upstreamOf(u)
		w.Policy = policies[i]
		err = errors.Join(err, add(u.Name, w))
	}
	return func(c tasks.Call) bool {
		if of := rules[c.Upstream]; of != nil {
			return of(c)
		}
		return rules[""](c)
	}, err
}

// printMaybeSent prints the calls, one a line.
func (d *doctor) printMaybeSent() {
	if d.json || len(d.maybeSent) == 0 {
		return
	}
	text := &errWriter{w: d.stdout}
	fmt.Fprintf(text, "%s must not be sent twice, and may have been sent before Redis went back in time:\n", console.Plural(len(d.maybeSent), "call"))
	for _, c := range d.maybeSent[:min(len(d.maybeSent), linesOfMaybeSent)] {
		fmt.Fprintln(text, "  "+console.Printable(strings.Join([]string{c.Key, c.ID, c.Batch, c.Method, c.Path}, "  ")))
	}
	if n := len(d.maybeSent) - linesOfMaybeSent; n > 0 {
		fmt.Fprintf(text, "  and %s; %s lists all\n", console.Plural(n, "other call"), d.next("doctor --accept-restore --json"))
	}
	fmt.Fprintf(text, "Cancel those that must not be sent before a worker runs: %s, or one by one in asynqmon.\n\n", d.next("batch cancel NAME"))
}
