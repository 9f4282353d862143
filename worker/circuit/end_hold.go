package circuit

import (
	"context"
	"fmt"

	"github.com/seed-2903acc3/callq/policy"
)

// NeedsPerson reports whether the circuit is open for a reason that only a person can
// fix: a credential, a balance or a setting.
func (r Record) NeedsPerson() bool {
	if r.State != Open {
		return false
	}
	switch policy.Class(r.Class) {
	case policy.ClassAuth, policy.ClassBalance, policy.ClassConfig:
		return true
	}
	return false
}

var scriptEndHold = load("end_hold")

// EndHold ends the hold of r, so that its probe is sent at once, and reports whether it
// did. Call it when a person has changed what the hold is about, such as a credential.
// The circuit stays open, on its rung, until the probe's verdict. EndHold does nothing if
// another hold has followed, if the probe is out already, or if the API itself gave the
// end of the hold.
func (s *Store) EndHold(ctx context.Context, r Record) (bool, error) {
	if !r.NeedsPerson() || r.Source != string(policy.SourceLadder) {
		return false, nil
	}
	ended, err := scriptEndHold.Run(ctx, s.rdb, r.Name.keys(), r.Epoch).Bool()
	if err != nil {
		return false, fmt.Errorf("end the hold of circuit %s: %w", r.Name, err)
	}
	if !ended {
		return false, nil
	}
	return true, s.follow(ctx, r.Name.Upstream)
}

// Cached returns an account's record as this process last read it.
func (s *Store) Cached(upstream string) Record {
	fields := map[string]string{}
	if known, ok := s.snapshots.Load(upstream); ok {
		fields = known.(*snapshot).fields
	}
	return recordFromHash(Name{Upstream: upstream}, fields)
}
