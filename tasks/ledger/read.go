package ledger

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redislua"
)

const (
	// page is how many records are listed in one step.
	page = 500
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

// split divides a page of calls into parts whose records are small enough to be read in
// one step.
func split[T any](ctx context.Context, s store, queue string, calls []T, id func(T) string) ([][]T, error) {
	if len(calls) == 0 {
		return nil, nil
	}
	k := keysOf(queue)
	args := append(make([]any, 0, 1+len(calls)), k.recordPrefix())
	for _, c := range calls {
		args = append(args, id(c))
	}
	lengths, err := scriptLengths.Run(ctx, s.rdb, []string{k.record(id(calls[0]))}, args...).Int64Slice()
	if err != nil {
		return nil, fmt.Errorf("measure %d records of queue %q: %w", len(calls), queue, err)
	}
	var pieces [][]T
	begin, weight := 0, int64(0)
	for i, n := range lengths {
		if i > begin && weight+n > maxReadBytes {
			pieces = append(pieces, calls[begin:i])
			begin, weight = i, 0
		}
		weight += n
	}
	return append(pieces, calls[begin:]), nil
}

// each yields the records that [store.read] returns, and holds as few of them in memory
// at a time as possible.
func (s store) each(ctx context.Context, queue string, ids []string) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		pieces, err := split(ctx, s, queue, ids, func(id string) string { return id })
		if err != nil {
			yield(Record{}, err)
			return
		}
		for _, piece := range pieces {
			records, err := s.read(ctx, queue, piece)
			if err != nil {
				yield(Record{}, err)
				return
			}
			for _, r := range records {
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

// read returns the records of the given calls, in order; a call without one yields a
// Record without a state.
func (s store) read(ctx context.Context, queue string, ids []string) ([]Record, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	k := keysOf(queue)
	pipe := s.rdb.Pipeline()
	cmds := make([]*redis.MapStringStringCmd, len(ids))
	for i, id := range ids {
		cmds[i] = pipe.HGetAll(ctx, k.record(id))
	}
	if err := exec(ctx, pipe); err != nil {
		return nil, fmt.Errorf("read %d records of queue %q: %w", len(ids), queue, err)
	}
	records := make([]Record, len(ids))
	for i, cmd := range cmds {
		records[i] = recordFromHash(queue, ids[i], hashOf(cmd.Val()))
	}
	return records, nil
}

// resultFields are the fields of a record that its result is made of.
var resultFields = []string{
	"state", "gen", "batch", "origin", "content", "out", "ended", "attempts", "parked", "first", "group", "body", "type", "freed", "purged",
}

// readResults is read without what a result does not have: the log, the lineage and the
// requests of earlier generations.
func (s store) readResults(ctx context.Context, queue string, ids []string) ([]Record, error) {
	return s.readSome(ctx, queue, ids, resultFields)
}

// readSome is read with some fields of the records only.
func (s store) readSome(ctx context.Context, queue string, ids, names []string) ([]Record, error) {
	rows, err := s.pick(ctx, queue, ids, names)
	if err != nil {
		return nil, err
	}
	records := make([]Record, len(ids))
	h := make(hash, 0, 2*len(names)) // of one record after the other
	for i, row := range rows {
		h = h[:0]
		for n, value := range row {
			if value != nil {
				h = append(h, names[n], redislua.Text(value))
			}
		}
		records[i] = recordFromHash(queue, ids[i], h)
	}
	return records, nil
}

// fields reads some fields of the given calls' records, in order; a missing field is
// "".
func (s store) fields(ctx context.Context, queue string, ids []string, names ...string) ([][]string, error) {
	picked, err := s.pick(ctx, queue, ids, names)
	if err != nil {
		return nil, err
	}
	rows := make([][]string, len(ids))
	for i, row := range picked {
		rows[i] = make([]string, len(names))
		for n, value := range row {
			rows[i][n] = redislua.Text(value)
		}
	}
	return rows, nil
}

// pick reads some fields of the given calls' records, in order; a missing field is nil, and
// so is the row of a key that holds another type.
func (s store) pick(ctx context.Context, queue string, ids, names []string) ([][]any, error) {
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
	rows := make([][]any, len(ids))
	for i, cmd := range cmds {
		rows[i] = cmd.Val()
	}
	return rows, nil
}
