package config

import (
	"strings"

	"github.com/seed-2903acc3/callq/policy/yamlfile"
)

// decoder reads callq.yaml into a Config. It continues after a mistake, to find all of
// them.
type decoder struct {
	*yamlfile.File
	dir string
	env func(string) string
	cfg *Config
	// tokensGiven reports that admin.tokens is there and not empty, valid or not.
	tokensGiven bool
}

// plain reads a string that must not contain references.
func (d *decoder) plain(e yamlfile.Value) (string, bool) {
	value, ok := e.Text()
	if ok && strings.Contains(value, "${") {
		e.Failf("cannot contain a ${…} reference; write the value itself")
		return "", false
	}
	return value, ok
}

// parsePlain reads a string that must not contain references, and parses it.
func parsePlain[T any](d *decoder, e yamlfile.Value, parse func(string) (T, error)) (value T, ok bool) {
	if _, ok := d.plain(e); !ok {
		return value, false
	}
	return yamlfile.ParseText(e, parse)
}

// text reads a string that may contain references. Without any it is checked and stored
// now, otherwise when its section is resolved.
func (d *decoder) text(e yamlfile.Value, s section, check func(string) error, store func(string)) {
	if secret, ok := d.secret(e, s, check, store); ok && secret.Kind() == Literal {
		value, _ := secret.Read() // literal text has no error
		store(value)
	}
}

// secret reads a string that may contain references. Its value is checked now, or when
// its section is resolved and then passed to store. store may be nil.
func (d *decoder) secret(e yamlfile.Value, s section, check func(string) error, store func(string)) (Secret, bool) {
	secret, ok := d.references(e)
	if !ok {
		return Secret{}, false
	}
	p := secret.Pos()
	if secret.Kind() == Literal {
		value, _ := secret.Read() // literal text has no error
		return secret, d.check(p, e.Path(), value, check)
	}
	d.cfg.deferred = append(d.cfg.deferred, deferred{s, e.Path(), func() error {
		value, err := secret.Read()
		if err != nil {
			return err
		}
		if err := check(value); err != nil {
			return p.Errorf("%s: the value of %s %v", e.Path(), secret, err)
		}
		if store != nil {
			store(value)
		}
		return nil
	}})
	return secret, true
}

// references reads a string and finds the references in it. It checks nothing else.
func (d *decoder) references(e yamlfile.Value) (Secret, bool) {
	raw, ok := e.Text()
	if !ok {
		return Secret{}, false
	}
	p := e.Pos()
	parts, err := splitReferences(raw)
	if err != nil {
		d.Failf(p, "%s: %v", e.Path(), err)
		return Secret{}, false
	}
	return newSecret(secret{pos: p, key: e.Path(), dir: d.dir, env: d.env, parts: parts}), true
}

// check checks a value, and adds a mistake if it is wrong.
func (d *decoder) check(p yamlfile.Pos, path, value string, check func(string) error) bool {
	if err := check(value); err != nil {
		d.Failf(p, "%s %v", path, err)
		return false
	}
	return true
}

func (d *decoder) literal(p yamlfile.Pos, key, value string) Secret {
	return newSecret(secret{pos: p, key: key, dir: d.dir, env: d.env, parts: []part{{Literal, value}}})
}
