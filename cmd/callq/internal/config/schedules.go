package config

import (
	"github.com/seed-2903acc3/callq/policy/calendar"
)

// Schedule sends a file of calls as a new batch at each time that a cron
// expression names.
type Schedule struct {
	// Name is the batches' names' beginning; no other schedule has it.
	Name string
	// Pos is where the schedule was written.
	Pos Pos
	// Calendar tells the times; never nil.
	Calendar *calendar.Calendar
	// File is the file's absolute path. It is read at each time anew.
	File string
}

func (d *decoder) schedules(e entry) {
	names := map[string]bool{}
	d.list(e, func(e entry) {
		s := &Schedule{Pos: e.at}
		nameAt, cron, timezone := e.at, "", "UTC"
		before := len(d.errs)
		g := d.mapping(e, fields{
			"name": func(e entry) {
				nameAt = d.pos(e.node)
				s.Name, _ = d.plain(e)
			},
			"cron": func(e entry) {
				value, ok := d.plain(e)
				if !ok {
					return
				}
				if err := calendar.CheckCron(value); err != nil {
					d.fail(d.pos(e.node), "%s: %q %v", e.path, value, err)
				}
				cron = value
			},
			"timezone": func(e entry) {
				value, ok := d.plain(e)
				if !ok {
					return
				}
				if err := calendar.CheckTimezone(value); err != nil {
					d.fail(d.pos(e.node), "%s: %q %v", e.path, value, err)
				}
				timezone = value
			},
			"file": func(e entry) {
				if value, ok := d.plain(e); ok {
					s.File = d.path(value)
				}
			},
		})
		switch {
		case g.lacks("name"):
			d.fail(e.at, "%s has no name; give it one, which its batches' names begin with", e.path)
		case s.Name == "": // what is wrong with it has been said
		case !upstreamName.MatchString(s.Name):
			d.fail(nameAt, "%s.name: %q cannot name a schedule; use 1 to 64 of a-z, 0-9, _ and -", e.path, s.Name)
		case names[s.Name]:
			d.fail(nameAt, "%s.name %q is taken by an earlier schedule; choose another", e.path, s.Name)
		}
		names[s.Name] = true
		if g.lacks("cron") {
			d.fail(e.at, `%s has no cron; write when to send, as in cron: "30 6 * * 1-5"`, e.path)
		}
		if g.lacks("file") {
			d.fail(e.at, "%s has no file; name the file of calls to send, relative to the configuration's folder", e.path)
		}
		if len(d.errs) > before {
			return
		}
		s.Calendar, _ = calendar.New(cron, timezone) // both were checked
		d.cfg.Schedules = append(d.cfg.Schedules, s)
	})
}
