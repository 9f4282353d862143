package config

import (
	"regexp"

	"github.com/seed-2903acc3/callq/policy/yamlfile"
)

// maxMemory is more memory than any Redis has, in bytes.
const maxMemory = 1 << 50

var upstreamName = regexp.MustCompile(`^[a-z0-9_-]{1,64}$`)

// root reads all keys except those of the upstreams, the schedules and the receivers of events.
func (d *decoder) root(root yamlfile.Value) {
	root.Mapping(yamlfile.Fields{
		"redis":     d.redis,
		"upstreams": d.upstreams,
		"schedules": d.schedules,
		"notify":    d.notify,
		"worker": func(e yamlfile.Value) {
			e.Mapping(yamlfile.Fields{"concurrency": func(e yamlfile.Value) {
				if n, ok := e.Int(1, maxConcurrency); ok {
					d.cfg.WorkerConcurrency = n
				}
			}})
		},
		"admin": func(e yamlfile.Value) {
			e.Mapping(yamlfile.Fields{"listen": d.listen, "tokens": d.tokens})
		},
		"ledger": func(e yamlfile.Value) {
			e.Mapping(yamlfile.Fields{
				"retention": func(e yamlfile.Value) {
					if value, ok := e.Duration(false); ok {
						d.cfg.Ledger.Retention = value
					}
				},
				"max_memory": func(e yamlfile.Value) {
					if n, ok := d.size(e, 0, maxMemory); ok && n > 0 {
						d.cfg.Ledger.MaxMemory = n
					}
				},
				"bodies": func(e yamlfile.Value) {
					value, _ := yamlfile.OneOf(e, "keep", "drop")
					d.cfg.Ledger.DropBodies = value == "drop"
				},
			})
		},
	})
}

// redis is in no section: every command that needs it reads its references itself.
func (d *decoder) redis(e yamlfile.Value) {
	value, ok := d.references(e)
	if !ok {
		return
	}
	if value.Kind() == Literal {
		text, _ := value.Read() // literal text always reads
		d.check(value.Pos(), e.Path(), text, checkRedisLiteral)
	}
	d.cfg.Redis = value
}

func (d *decoder) listen(e yamlfile.Value) {
	d.cfg.Admin.Listen, d.cfg.Admin.Configured, d.cfg.Admin.Pos = "", true, e.Pos()
	d.text(e, admin, checkListen, func(value string) { d.cfg.Admin.Listen = value })
}

func (d *decoder) tokens(e yamlfile.Value) {
	names := map[string]bool{}
	kind := e.Kind()
	d.tokensGiven = kind != yamlfile.KindNull && (kind != yamlfile.KindList || e.Len() > 0)
	e.List(func(e yamlfile.Value) {
		var token Token
		nameAt := e.Key()
		g := e.Mapping(yamlfile.Fields{
			"name": func(e yamlfile.Value) {
				nameAt = e.Pos()
				token.Name, _ = d.plain(e)
			},
			"role": func(e yamlfile.Value) {
				token.Role, _ = yamlfile.OneOf(e, Viewer, Producer, Operator)
			},
			"token": func(e yamlfile.Value) {
				token.Token, _ = d.secret(e, admin, checkBearer, nil)
			},
		})
		if g.Lacks("name") {
			e.FailKeyf("has no name; give it one")
		}
		if token.Name != "" && names[token.Name] {
			d.Failf(nameAt, "%s.name %q is taken by an earlier token; choose another", e.Path(), token.Name)
		}
		if g.Lacks("role") {
			e.FailKeyf("has no role; write viewer, producer or operator")
		}
		if g.Lacks("token") {
			e.FailKeyf(`has no token; refer to one, as in token: "${env:CALLQ_TOKEN}"`)
		}
		names[token.Name] = true
		d.cfg.Admin.Tokens = append(d.cfg.Admin.Tokens, token)
	})
}
