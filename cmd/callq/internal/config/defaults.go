package config

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/seed-2903acc3/callq/policy"
)

// policyDefaults returns the defaults of the upstream's policy. unread reports that the
// policy cannot be read. A command that uses the policy reports why.
func (u *Upstream) policyDefaults() (defaults policy.Upstream, unread bool) {
	load, name := policy.Preset, u.Policy
	if u.PolicyPath != "" {
		load, name = policy.LoadFile, u.PolicyPath
	}
	if name == "" {
		return defaults, false
	}
	p, err := load(name)
	if err != nil {
		return defaults, true
	}
	return p.Upstream(), false
}

// applyDefaults sets the keys that the upstream does not have from its policy.
func (u *Upstream) applyDefaults(d policy.Upstream, baseURL, idempotent, idempotencyHeader bool) {
	if baseURL && d.BaseURL != "" {
		u.BaseURL = d.BaseURL
		u.note(d, "base_url", d.BaseURL)
	}
	if idempotent && d.Idempotent != nil {
		u.Idempotent = d.Idempotent
		u.note(d, "idempotent", cmp.Or(strings.Join(d.Idempotent, ", "), "nothing"))
	}
	if idempotencyHeader && d.IdempotencyHeader != "" {
		u.IdempotencyHeader = d.IdempotencyHeader
		u.note(d, "idempotency_header", d.IdempotencyHeader)
	}
}

// addHeaders adds the policy's headers that neither the upstream nor its credential
// sets.
func (u *Upstream) addHeaders(d policy.Upstream) {
	taken := []string{u.IdempotencyHeader}
	if u.Auth.Type == AuthHeader {
		taken = append(taken, u.Auth.Name)
	}
	left := d.HeadersBeside(u.Headers, taken...)
	if u.Headers == nil {
		u.Headers = left
	} else {
		maps.Copy(u.Headers, left)
	}
	for _, name := range slices.Sorted(maps.Keys(left)) {
		u.note(d, "headers."+name, left[name])
	}
}

// HasDefault reports whether the value of a key is the policy's, not the configuration's.
func (u *Upstream) HasDefault(key string) bool {
	return slices.ContainsFunc(u.Defaults, func(d Default) bool { return d.Key == key })
}

func (u *Upstream) note(d policy.Upstream, key, value string) {
	u.Defaults = append(u.Defaults, Default{Key: key, Value: value, Where: d.Where(key)})
}
