package ledger

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redislua"
)

const (
	// page is how many records are listed in one step.
	page = 500
	// maxRead is how many of them one script reads: Redis serves no other client meanwhile.
	maxRead = 250
	// maxReadBytes is how many bytes of calls and answers are read in one step, or else
	// a single record: 500 answers of some megabytes each do not fit into a process.
	maxReadBytes = 4 << 20
)

func member(z redis.Z) string { return z.Member.(string) }

func members(zs []redis.Z) []string {
	ids := make([]string, len(zs))
	for i, z := range zs {
		ids[i] = member(z)
	}
	return ids
}

// isWrongType reports that another program wrote a value of another type to one of
// callq's keys.
func isWrongType(err error) bool { return redis.HasErrorPrefix(err, "WRONGTYPE") }

// exec runs a pipeline of reads. A key that is missing, or of another type than callq
// uses, reads as empty.
func exec(ctx context.Context, pipe redis.Pipeliner) error {
	cmds, err := pipe.Exec(ctx)
	if len(cmds) == 0 {
		return err
	}
	for _, cmd := range cmds {
		if err := cmd.Err(); err != nil && !errors.Is(err, redis.Nil) && !isWrongType(err) {
			return err
		}
	}
	return nil
}

// each yields the records of calls, in order, and holds as few of them in memory at a time as
// possible; a call without a record yields a Record without a state.
func (s store) each(ctx context.Context, queue string, ids []string) iter.Seq2[Record, error] {
	return s.eachWith(ctx, queue, ids, nil)
}

// eachWith is each with some fields of the records only, unless names is empty.
func (s store) eachWith(ctx context.Context, queue string, ids, names []string) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for len(ids) > 0 {
			records, err := s.readNext(ctx, queue, ids, names)
			if err != nil {
				yield(Record{}, err)
				return
			}
			ids = ids[len(records):]
			for _, r := range records {
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

// resultFields are the fields of a record that its result is made of.
var resultFields = []string{
	"state", "gen", "batch", "origin", "content", "out", "ended", "attempts", "parked", "first", "group", "body", "type", "freed", "purged",
}

// readNext reads records of the given calls, in order: at least the first, and as many more as
// may be in memory together. names are the fields that are wanted; none are all. A call without
// a record has a Record without a state.
func (s store) readNext(ctx context.Context, queue string, ids, names []string) ([]Record, error) {
	fail := func(err error) ([]Record, error) {
		return nil, fmt.Errorf("read %d records of queue %q: %w", len(ids), queue, err)
	}
	k := keysOf(queue)
	ids = ids[:min(len(ids), maxRead)]
	args := append(make([]any, 0, 2+len(names)+len(ids)), k.recordPrefix(), len(names))
	for i := range names {
		args = append(args, &names[i])
	}
	for i := range ids {
		args = append(args, &ids[i])
	}
	reply, err := scriptRead.Run(ctx, s.rdb, []string{k.record(ids[0])}, args...).Slice()
	if err != nil {
		return fail(err)
	}
	reply, large := largeOf(reply, ids)
	hashes, err := s.readLarge(ctx, k, large, names)
	if err != nil {
		return fail(err)
	}
	records := make([]Record, len(reply))
	h := make(hash, 0, 32) // of one record after the other
	var last Record
	for i, one := range reply {
		if _, ok := one.(int64); ok {
			records[i], hashes = recordFromHash(queue, ids[i], hashes[0]), hashes[1:]
			continue
		}
		p := packed{rest: redislua.Text(one)}
		if h = p.fields(h[:0], names); p.bad {
			return fail(errPacked)
		}
		records[i] = recordFromHash(queue, ids[i], h)
		records[i].detach(&last)
	}
	return records, nil
}

// largeOf returns the calls whose records lua/read.lua has only measured, and the reply without
// those that would be too much together, and what follows them.
func largeOf(reply []any, ids []string) (shorter []any, large []string) {
	weight := int64(0)
	for i, one := range reply {
		size, measured := one.(int64)
		if !measured {
			continue
		}
		if weight += size; i > 0 && weight > maxReadBytes {
			return reply[:i], large
		}
		large = append(large, ids[i])
	}
	return reply, large
}

// readLarge reads records that a script should not copy; names are as in readNext.
func (s store) readLarge(ctx context.Context, k keys, ids, names []string) ([]hash, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	pipe := s.rdb.Pipeline()
	cmds := make([]*redis.MapStringStringCmd, len(ids))
	for i, id := range ids {
		cmds[i] = pipe.HGetAll(ctx, k.record(id))
	}
	err := exec(ctx, pipe)
	hashes := make([]hash, len(ids))
	for i, cmd := range cmds {
		fields := cmd.Val()
		if len(names) > 0 {
			maps.DeleteFunc(fields, func(name, _ string) bool { return !slices.Contains(names, name) })
		}
		hashes[i] = hashOf(fields)
	}
	return hashes, err
}

// detach copies the texts that are parts of a larger one, which they would keep in memory.
// Those that last has already are taken from it.
func (r *Record) detach(last *Record) {
	if r.State != last.State {
		last.State = State(strings.Clone(string(r.State)))
	}
	r.State = last.State
	for _, one := range [...]struct{ text, known *string }{{&r.Batch, &last.Batch}, {&r.Group, &last.Group}, {&r.BodyType, &last.BodyType}} {
		if *one.text != *one.known {
			*one.known = strings.Clone(*one.text)
		}
		*one.text = *one.known
	}
	r.Key, r.Hash = strings.Clone(r.Key), strings.Clone(r.Hash)
}

// fields reads some fields of the given calls' records, in order; a missing field is
// "", and so are those of a key that holds another type.
func (s store) fields(ctx context.Context, queue string, ids []string, names ...string) ([][]string, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	k := keysOf(queue)
	pipe := s.rdb.Pipeline()
	cmds := make([]*redis.SliceCmd, len(ids))
	for i, id := range ids {
		cmds[i] = pipe.HMGet(ctx, k.record(id), names...)
	}
	if err := exec(ctx, pipe); err != nil {
		return nil, fmt.Errorf("read %d records of queue %q: %w", len(ids), queue, err)
	}
	rows := make([][]string, len(ids))
	for i, cmd := range cmds {
		rows[i] = make([]string, len(names))
		for n, value := range cmd.Val() {
			rows[i][n] = redislua.Text(value)
		}
	}
	return rows, nil
}
