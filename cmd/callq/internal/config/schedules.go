package config

import (
	"time"

	"github.com/seed-2903acc3/callq/policy/calendar"
	"github.com/seed-2903acc3/callq/policy/yamlfile"
)

// Schedule sends a file of calls as a new batch at each time that a cron
// expression names.
type Schedule struct {
	// Name is unique. The names of the schedule's batches begin with it.
	Name string
	// Pos is where the schedule is written.
	Pos yamlfile.Pos
	// Calendar has the times. It is never nil.
	Calendar *calendar.Calendar
	// File is the file's absolute path. It is read again each time.
	File string
}

func (d *decoder) schedules(e yamlfile.Value) {
	names := map[string]bool{}
	e.List(func(e yamlfile.Value) {
		s := &Schedule{Pos: e.Key()}
		nameAt, cron, zone := e.Key(), calendar.Cron{}, time.UTC
		before := d.Failures()
		g := e.Mapping(yamlfile.Fields{
			"name": func(e yamlfile.Value) {
				nameAt = e.Pos()
				s.Name, _ = d.plain(e)
			},
			"cron": func(e yamlfile.Value) { cron, _ = parsePlain(d, e, calendar.ParseCron) },
			"timezone": func(e yamlfile.Value) {
				if value, ok := parsePlain(d, e, calendar.ParseTimezone); ok {
					zone = value
				}
			},
			"file": func(e yamlfile.Value) {
				if value, ok := d.plain(e); ok {
					s.File = d.path(value)
				}
			},
		})
		switch {
		case g.Lacks("name"):
			e.FailKeyf("has no name; give it one: the names of its batches begin with it")
		case s.Name == "": // the mistake has been reported
		case !upstreamName.MatchString(s.Name):
			d.Failf(nameAt, "%s.name: %q cannot name a schedule; use 1 to 64 of a-z, 0-9, _ and -", e.Path(), s.Name)
		case names[s.Name]:
			d.Failf(nameAt, "%s.name %q is taken by an earlier schedule; choose another", e.Path(), s.Name)
		}
		names[s.Name] = true
		if g.Lacks("cron") {
			e.FailKeyf(`has no cron; write when to send, as in cron: "30 6 * * 1-5"`)
		}
		if g.Lacks("file") {
			e.FailKeyf("has no file; name the file of calls to send, relative to the configuration's folder")
		}
		if d.Failures() > before {
			return
		}
		s.Calendar = cron.In(zone)
		d.cfg.Schedules = append(d.cfg.Schedules, s)
	})
}
