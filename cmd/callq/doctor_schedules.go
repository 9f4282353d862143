package main

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/cmd/callq/internal/schedule"
)

// checkSchedules finds schedules whose file was not sent, or will not be sent. Without
// schedules it reports nothing.
func checkSchedules(ctx context.Context, d *doctor) ([]diagnosis, error) {
	all := schedulesOf(d.cfg)
	if len(all) == 0 {
		return nil, nil
	}
	now, err := d.backend.conn.Client.Time(ctx).Result()
	if err != nil {
		return nil, err
	}
	var list []diagnosis
	for _, s := range all {
		st, err := schedule.Read(ctx, d.backend.conn.Client, s)
		if err != nil {
			return list, err
		}
		list = append(list, diagnose(s, st, now)...)
	}
	return orWell(list, "%s, none with a missed tick", console.Plural(len(all), "schedule")), nil
}

func diagnose(s schedule.Schedule, st schedule.State, now time.Time) []diagnosis {
	var list []diagnosis
	if err := schedule.CheckFile(s.File); err != nil {
		list = append(list, diagnosis{Status: found, Detail: fmt.Sprintf("schedule %s: %v", s.Name, err)})
	}
	if st.Until.IsZero() {
		list = append(list, diagnosis{
			Status: noted, Detail: fmt.Sprintf("schedule %s: no worker has run it yet; it starts when a worker does", s.Name), Fix: "callq work",
		})
	}
	if missed := st.Overdue(s.Calendar, now); missed != nil {
		list = append(list, diagnosis{
			Status: found, Fix: fmt.Sprintf("callq work; and if the calls are still needed: %s", s.ByHand(missed.Last)),
			Detail: fmt.Sprintf("schedule %s: %s without a worker to send the file, last at %s", s.Name, console.Subject(missed.Count, "tick", "has passed", "have passed"), timeText(missed.Last)),
		})
	} else if missed := st.Missed; missed != nil && (st.Sent == nil || st.Sent.Tick.Before(missed.Last)) && st.Sending.IsZero() {
		list = append(list, diagnosis{
			Status: found, Fix: "if the calls are still needed: " + s.ByHand(missed.Last),
			Detail: fmt.Sprintf("schedule %s: %s missed, last at %s, and nothing has been sent since", s.Name, console.Subject(missed.Count, "tick", "was", "were"), timeText(missed.Last)),
		})
	}
	if sent := st.Sent; sent != nil {
		switch {
		case sent.Error != "":
			list = append(list, diagnosis{Status: found, Detail: fmt.Sprintf("schedule %s: %s was not sent: %s", s.Name, sent.Batch, sent.Error), Fix: s.ByHand(sent.Tick)})
		case sent.Refused > 0:
			list = append(list, diagnosis{
				Status: found, Detail: fmt.Sprintf("schedule %s: %s refused from %s, the first: %s", s.Name, console.Subject(sent.Refused, "line", "was", "were"), sent.Batch, sent.Refusal),
				Fix: "correct " + s.File + ", then " + s.ByHand(sent.Tick),
			})
		}
	}
	return list
}
