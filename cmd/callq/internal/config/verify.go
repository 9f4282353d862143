package config

import (
	"strings"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/policy/yamlfile"
	"github.com/seed-2903acc3/callq/worker"
)

// verify reads how to ask the API whether a call took effect.
func (d *decoder) verify(e yamlfile.Value) *worker.Verify {
	before := d.Failures()
	var v worker.Verify
	given := e.Mapping(yamlfile.Fields{
		"method": func(e yamlfile.Value) {
			if text, ok := d.plain(e); ok {
				v.Method = strings.ToUpper(text)
			}
		},
		"path": func(e yamlfile.Value) { v.Path, _ = d.plain(e) },
		"after": func(e yamlfile.Value) {
			if after, ok := e.Duration(false); ok {
				v.After = after
			}
		},
		"found":  func(e yamlfile.Value) { v.Found = d.match(e) },
		"absent": func(e yamlfile.Value) { v.Absent = d.match(e) },
	})
	for _, key := range []string{"path", "found", "absent"} {
		if given.Lacks(key) {
			e.FailKeyf("has no %s; write one, as in verify: {path: \"/orders?ref={key}\", found: {http: [\"2xx\"]}, absent: {http: [404]}}", key)
		}
	}
	if d.Failures() > before {
		return nil
	}
	if err := v.Validate(); err != nil {
		e.Failf("%v", err)
		return nil
	}
	return &v
}

// match reads what an answer must look like, as the match of a policy's rule.
func (d *decoder) match(e yamlfile.Value) policy.Match {
	if e.Kind() != yamlfile.KindMapping {
		e.FailType("a mapping, as in {http: [404]}")
		return policy.Match{}
	}
	text, ok := e.JSON()
	if !ok {
		return policy.Match{}
	}
	m, err := policy.ParseMatch(string(text))
	if err != nil {
		e.Failf("%v", strings.TrimPrefix(err.Error(), "policy: "))
	}
	return m
}
