package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
)

// fixedConfig are the values that a process reads only when it starts, by key. They may be
// secrets, so only the keys are logged.
type fixedConfig map[string]string

func fixedOf(cfg *config.Config) (fixedConfig, error) {
	url, err := cfg.RedisURL()
	if err != nil {
		return nil, err
	}
	var tokens strings.Builder
	for _, t := range cfg.Admin.Tokens {
		// A file is compared by its name, because it is read again for each request.
		value := t.Token.String()
		if t.Token.Kind() != config.File {
			if value, err = t.Token.Read(); err != nil {
				return nil, err
			}
		}
		fmt.Fprintf(&tokens, "%q %q %q\n", t.Name, t.Role, value)
	}
	return fixedConfig{"redis": url, "admin.listen": cfg.Admin.Listen, "admin.tokens": tokens.String()}, nil
}

// changed returns the keys whose values differ.
func (f fixedConfig) changed(now fixedConfig) []string {
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(f)) {
		if f[key] != now[key] {
			keys = append(keys, key)
		}
	}
	return keys
}
