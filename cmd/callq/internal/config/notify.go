package config

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seed-2903acc3/callq/policy/yamlfile"
	"github.com/seed-2903acc3/callq/worker/notify"
)

// Receiver is where events are sent.
type Receiver struct {
	// Name is unique. Events wait for this name, also when the URL changes.
	Name string
	// Pos is where the receiver is written.
	Pos yamlfile.Pos
	// URL and Secret are read for each request.
	URL, Secret Secret
	// Events are never empty.
	Events []notify.Type
	Format notify.Format
}

func (d *decoder) notify(e yamlfile.Value) {
	e.List(func(e yamlfile.Value) {
		r := &Receiver{Pos: e.Key(), Events: notify.Types, Format: notify.FormatJSON}
		nameAt, written, before := e.Key(), "", d.Failures()
		g := e.Mapping(yamlfile.Fields{
			"name": func(e yamlfile.Value) {
				nameAt = e.Pos()
				r.Name, _ = parsePlain(d, e, func(name string) (string, error) { return name, notify.CheckName(name) })
			},
			"url": func(e yamlfile.Value) {
				written, _ = e.Text()
				r.URL, _ = d.secret(e, notifications, notify.CheckURL, nil)
			},
			"secret": func(e yamlfile.Value) {
				r.Secret, _ = d.secret(e, notifications, notify.CheckSecret, nil)
			},
			"format": func(e yamlfile.Value) { r.Format, _ = yamlfile.OneOf(e, notify.FormatJSON, notify.FormatSlack) },
			"events": func(e yamlfile.Value) { r.Events = d.events(e) },
		})
		if g.Lacks("url") {
			e.FailKeyf(`has no url; write where events are sent, as in url: "${env:NOTIFY_URL}"`)
		}
		if g.Lacks("secret") && r.Format == notify.FormatJSON {
			e.FailKeyf(`has no secret, which signs the requests; make one with echo whsec_$(openssl rand -base64 32), and refer to it, as in secret: "${env:NOTIFY_SECRET}"`)
		}
		if d.Failures() > before {
			return
		}
		if g.Lacks("name") {
			r.Name = nameOf(r.URL, written)
		}
		if slices.ContainsFunc(d.cfg.Notify, func(other *Receiver) bool { return other.Name == r.Name }) {
			if g.Lacks("name") {
				d.Failf(nameAt, "%s has the same url as an earlier receiver; list all events there, or give both a name", e.Path())
			} else {
				d.Failf(nameAt, "%s.name %q is taken by an earlier receiver; choose another", e.Path(), r.Name)
			}
			return
		}
		d.cfg.Notify = append(d.cfg.Notify, r)
	})
}

// events reads the types of events that a receiver gets.
func (d *decoder) events(e yamlfile.Value) (types []notify.Type) {
	if e.Kind() == yamlfile.KindList && e.Len() == 0 {
		e.Failf("names no event; write some of %s, or remove the key to get all", yamlfile.Words(notify.Types...))
	}
	e.List(func(e yamlfile.Value) {
		if t, ok := yamlfile.OneOf(e, notify.Types...); ok && !slices.Contains(types, t) {
			types = append(types, t)
		}
	})
	return types
}

// nameOf returns the name of a receiver without one. It depends on what is written only, and
// not on the place in the list: events that wait must not go to another receiver. It is the
// host with a short hash of the URL, or the name of the variable or file that has the URL.
func nameOf(u Secret, written string) string {
	name, literal := "", false
	reference := func(text string) {
		if name == "" {
			name = text
		}
	}
	u.Parts(func(string) { literal = true }, reference, func(path string) { reference(filepath.Base(path)) })
	if parsed, err := url.Parse(written); name == "" && err == nil {
		name = parsed.Hostname()
	}
	name = strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '-'
	}, strings.ToLower(name)), "-")
	name = name[:min(len(name), 40)]
	if literal {
		sum := sha256.Sum256([]byte(written))
		name += "-" + hex.EncodeToString(sum[:3])
	}
	return strings.Trim(name, "-")
}
