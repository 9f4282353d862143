package main

import (
	"context"
	"fmt"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/worker/notify"
)

// checkNotify reports events that wait for a receiver, and those that were dropped because too
// many waited.
func checkNotify(ctx context.Context, d *doctor) ([]diagnosis, error) {
	var list []diagnosis
	store := notify.NewStore(d.backend.conn.Client, whoami())
	for _, r := range d.cfg.Notify {
		backlog, err := store.Backlog(ctx, r.Name)
		if err != nil {
			return list, err
		}
		upstream := notify.UpstreamOf(r.Name)
		if backlog.Waiting > 0 {
			list = append(list, diagnosis{
				Status: noted, Detail: fmt.Sprintf("%s for receiver %s", console.Subject(backlog.Waiting, "event", "waits", "wait"), r.Name),
				Fix: "callq work sends them; why the first one waits: " + d.next("batch status "+upstream),
			})
		}
		if backlog.Lost > 0 {
			list = append(list, diagnosis{
				Status: found, Detail: fmt.Sprintf("receiver %s has missed %s: no more than %d wait, the oldest were dropped", r.Name, console.Plural(backlog.Lost, "event"), notify.MostWaiting),
				Fix: "repair the receiver, or remove it from notify in " + d.cfg.Path,
			})
		}
	}
	return orWell(list, "%s of events, nothing waits", console.Plural(len(d.cfg.Notify), "receiver")), nil
}
