package main

import (
	"testing"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/policy"
)

func TestARecordedCallIsIdempotentByItsUpstreamBeforeItsPolicy(t *testing.T) {
	p, err := policy.Parse("mine.yaml", []byte("version: 1\nextends: http\nupstream:\n  idempotent: [POST /search]\n"))
	if err != nil {
		t.Fatal(err)
	}
	byPolicy := []config.Default{{Key: "idempotent"}}
	for name, c := range map[string]struct {
		configured *config.Upstream
		want       string
	}{
		"no upstream":            {nil, `"POST /search", mine.yaml:4`},
		"an upstream without it": {&config.Upstream{Name: "api", Idempotent: config.DefaultIdempotent()}, `"POST /search", mine.yaml:4`},
		"by the policy":          {&config.Upstream{Name: "api", Idempotent: []string{"POST /other"}, Defaults: byPolicy}, `"POST /search", mine.yaml:4`},
		"by the upstream":        {&config.Upstream{Name: "api", Idempotent: []string{"POST /*"}}, `"POST /*", upstreams.api`},
		"by its header": {
			&config.Upstream{Name: "api", Idempotent: config.DefaultIdempotent(), IdempotencyHeader: "X-Once"},
			"idempotency_header X-Once, upstreams.api",
		},
		"not, by the upstream": {&config.Upstream{Name: "api", Idempotent: []string{"GET *"}}, "no pattern of upstreams.api"},
	} {
		t.Run(name, func(t *testing.T) {
			idempotent, by := idempotentBy(p, c.configured, "POST /search")
			if by != c.want || idempotent != (name != "not, by the upstream") {
				t.Errorf("got %t by %s, want it by %s", idempotent, by, c.want)
			}
		})
	}
}
