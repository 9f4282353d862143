package notify

import (
	_ "embed"
	"fmt"
	"sync"

	"github.com/seed-2903acc3/callq/policy"
)

//go:embed policy.yaml
var policyText []byte

// Policy returns the policy by which deliveries are judged.
var Policy = sync.OnceValues(func() (*policy.Policy, error) {
	p, err := policy.Parse("notify/policy.yaml", policyText)
	if err != nil {
		return nil, fmt.Errorf("the policy of notifications: %w", err)
	}
	return p, nil
})
