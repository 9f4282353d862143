package config

import (
	"regexp"

	"github.com/goccy/go-yaml/ast"
)

// maxMemory is more than any Redis has.
const maxMemory = 1 << 50

var upstreamName = regexp.MustCompile(`^[a-z0-9_-]{1,64}$`)

// root reads the keys of the top level, and those of all but the upstreams.
func (d *decoder) root(node ast.Node) {
	at := d.pos(node)
	d.mapping(entry{at: at, node: node}, fields{
		"redis":     d.redis,
		"upstreams": d.upstreams,
		"schedules": d.schedules,
		"worker": func(e entry) {
			d.mapping(e, fields{"concurrency": func(e entry) {
				if n, ok := d.number(e, 1, maxConcurrency); ok {
					d.cfg.WorkerConcurrency = n
				}
			}})
		},
		"admin": func(e entry) {
			d.mapping(e, fields{"listen": d.listen, "tokens": d.tokens})
		},
		"ledger": func(e entry) {
			d.mapping(e, fields{
				"retention": func(e entry) {
					if value, ok := d.duration(e); ok {
						d.cfg.Ledger.Retention = value
					}
				},
				"max_memory": func(e entry) {
					if n, ok := d.size(e, 0, maxMemory); ok && n > 0 {
						d.cfg.Ledger.MaxMemory = n
					}
				},
				"bodies": func(e entry) {
					value, _ := d.choice(e, "keep", "drop")
					d.cfg.Ledger.DropBodies = value == "drop"
				},
			})
		},
	})
}

// redis is read by every command that needs it, hence it is in no section.
func (d *decoder) redis(e entry) {
	value, ok := d.references(e)
	if !ok {
		return
	}
	if value.Kind() == Literal {
		text, _ := value.Read() // literal text always reads
		d.checkNow(value.Pos(), e.path, text, checkRedisLiteral)
	}
	d.cfg.Redis = value
}

func (d *decoder) listen(e entry) {
	d.cfg.Admin.Listen, d.cfg.Admin.Configured, d.cfg.Admin.Pos = "", true, d.pos(e.node)
	d.text(e, admin, checkListen, func(value string) { d.cfg.Admin.Listen = value })
}

func (d *decoder) tokens(e entry) {
	names := map[string]bool{}
	switch node := e.node.(type) {
	case *ast.SequenceNode:
		d.tokensGiven = len(node.Values) > 0
	case *ast.NullNode:
	default:
		d.tokensGiven = true
	}
	d.list(e, func(e entry) {
		var token Token
		nameAt := e.at
		g := d.mapping(e, fields{
			"name": func(e entry) {
				nameAt = d.pos(e.node)
				token.Name, _ = d.plain(e)
			},
			"role": func(e entry) {
				role, _ := d.choice(e, string(Viewer), string(Producer), string(Operator))
				token.Role = Role(role)
			},
			"token": func(e entry) {
				token.Token, _ = d.secret(e, admin, checkToken, nil)
			},
		})
		if g.lacks("name") {
			d.fail(e.at, "%s has no name; give it one, to know it by", e.path)
		}
		if token.Name != "" && names[token.Name] {
			d.fail(nameAt, "%s.name %q is taken by an earlier token; choose another", e.path, token.Name)
		}
		if g.lacks("role") {
			d.fail(e.at, "%s has no role; write viewer, producer or operator", e.path)
		}
		if g.lacks("token") {
			d.fail(e.at, `%s has no token; refer to one, as in token: "${env:CALLQ_TOKEN}"`, e.path)
		}
		names[token.Name] = true
		d.cfg.Admin.Tokens = append(d.cfg.Admin.Tokens, token)
	})
}
