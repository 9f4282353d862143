package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/seed-2903acc3/callq/internal/httpsyntax"
	"github.com/seed-2903acc3/callq/policy/yamlfile"
)

// addition is a header or a query parameter that every call of an upstream sends.
type addition struct {
	name, value, path string
	at                yamlfile.Pos
}

// additions are those of one upstream. They are checked after the whole upstream has been
// read, because they must not repeat the names of auth and idempotency_header.
type additions struct{ headers, query []addition }

// additions reads a mapping of names to values: strings, numbers, true or false.
func (d *decoder) additions(e yamlfile.Value) []addition {
	var list []addition
	e.Each(func(name string, e yamlfile.Value) {
		if value, ok := d.scalar(e); ok {
			list = append(list, addition{name, value, e.Path(), e.Key()})
		}
	})
	return list
}

// scalar reads a string, a number, true or false, as it is written. A string may be empty.
// It must not contain a reference, because these values are not secret.
func (d *decoder) scalar(e yamlfile.Value) (string, bool) {
	value, ok := e.Scalar()
	if !ok {
		return "", false
	}
	if strings.Contains(value, "${") {
		e.Failf("cannot contain a ${…} reference, because it is not secret; write a credential under auth, as in auth: {type: header, name: X-Api-Key, value: \"${env:NAME}\"}")
		return "", false
	}
	return value, d.check(e.Pos(), e.Path(), value, checkOneLine)
}

func checkOneLine(value string) error {
	if !httpsyntax.IsPrintable(value, true) {
		return errors.New("contains a line break or another control character; write the value in one line")
	}
	return nil
}

// add checks the headers and parameters that an upstream adds, and stores them.
func (d *decoder) add(u *Upstream, sent additions) {
	for _, h := range sent.headers {
		if !d.check(h.at, h.path, h.name, func(name string) error { return checkAddedHeader(u, name) }) {
			continue
		}
		if u.Headers == nil {
			u.Headers = map[string]string{}
		}
		for other := range u.Headers {
			if strings.EqualFold(other, h.name) {
				d.Failf(h.at, "%s is the same header as %s; remove one of them", h.path, other)
			}
		}
		u.Headers[h.name] = h.value
	}
	for _, p := range sent.query {
		if !d.check(p.at, p.path, p.name, func(name string) error { return checkAddedParameter(u, name) }) {
			continue
		}
		if u.Query == nil {
			u.Query = map[string]string{}
		}
		u.Query[p.name] = p.value
	}
}

func checkAddedHeader(u *Upstream, name string) error {
	if err := checkToken(name); err != nil {
		return err
	}
	switch lower := strings.ToLower(name); {
	case u.Auth.Type == AuthHeader && strings.EqualFold(name, u.Auth.Name):
		return errors.New("is the header of auth, which sets it on every call; remove it here")
	case u.IdempotencyHeader != "" && strings.EqualFold(name, u.IdempotencyHeader):
		return errors.New("is the idempotency_header, which callq sets on every call; remove it here")
	case lower == "authorization" || lower == "cookie" || lower == "proxy-authorization":
		return fmt.Errorf("is a credential; write it under auth, as in auth: {type: header, name: %s, value: \"${env:NAME}\"}", name)
	case httpsyntax.IsIdempotencyKey(name):
		return fmt.Errorf("would be the same for every call; write idempotency_header: %s, so that each call sends its own", name)
	case lower == "content-encoding":
		return errors.New("says that bodies are compressed, which callq does not do; remove it")
	case httpsyntax.IsReserved(name):
		return errors.New("is set by the HTTP client itself; remove it")
	}
	return nil
}

func checkAddedParameter(u *Upstream, name string) error {
	own := u.Auth.Type == AuthQuery && strings.EqualFold(name, u.Auth.Name)
	if o := u.Auth.OAuth2; o != nil {
		own = own || slices.ContainsFunc(o.Query, func(q QuerySecret) bool { return strings.EqualFold(q.Name, name) })
	}
	switch {
	case name == "":
		return errors.New("has no name; write one")
	case own:
		return errors.New("is a parameter of auth, which sets it on every call; remove it here")
	}
	return checkOneLine(name)
}

// mostKeepHeaders is how many headers of an answer a result may contain.
const mostKeepHeaders = 32

func (d *decoder) keepHeaders(e yamlfile.Value) []string {
	var names []string
	e.List(func(e yamlfile.Value) {
		name, ok := d.plain(e)
		if !ok || !d.check(e.Pos(), e.Path(), name, checkKeptHeader) {
			return
		}
		for _, other := range names {
			if strings.EqualFold(other, name) {
				e.Failf("is %s a second time; remove one of them", name)
				return
			}
		}
		names = append(names, name)
	})
	if len(names) > mostKeepHeaders {
		e.FailKeyf("has %d names; write at most %d", len(names), mostKeepHeaders)
	}
	return names
}

func checkKeptHeader(name string) error {
	if httpsyntax.IsSessionCookie(name) {
		return fmt.Errorf("is %s, which contains a credential of the session, so results cannot contain it; remove it", name)
	}
	return checkToken(name)
}
