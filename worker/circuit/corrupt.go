package circuit

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redislua"
)

// numbers are the fields of a record that the scripts compute with.
var numbers = []string{
	"epoch", "until", "since", "rung", "streak", "failed", "endpoints", "held", "turn", "lease", "limited", "max_probes", "version",
	"refused_epoch", "alone", "faults", "good_at", "probes_good", "probes_bad", "runs",
}

// maxNumber is the largest integer that a script represents exactly.
const maxNumber = 1 << 53

// repair removes the fields of the records that the scripts cannot compute with. Such a
// field would hold the account for ever, and make an operator's command fail too. Valid
// fields stay.
func (s *Store) repair(ctx context.Context, n Name) error {
	for _, key := range n.keys()[:2] {
		fields, err := s.rdb.HGetAll(ctx, key).Result()
		var refused redis.Error
		if errors.As(err, &refused) {
			if kind, err := s.rdb.Type(ctx, key).Result(); err == nil && kind != "hash" && kind != "none" {
				if err := s.rdb.Del(ctx, key).Err(); err != nil {
					return err
				}
				continue
			}
		}
		if err != nil {
			return err
		}
		var wrong []string
		for _, field := range numbers {
			if text, there := fields[field]; there && !redislua.Whole(text, -maxNumber, maxNumber) {
				wrong = append(wrong, field)
			}
		}
		if len(wrong) == 0 {
			continue
		}
		if err := s.rdb.HDel(ctx, key, wrong...).Err(); err != nil {
			return err
		}
	}
	return nil
}
