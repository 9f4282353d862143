package ledger

import "context"

// Watch asks that the ending of a call of a queue is announced on
// [redislua.EndedChannel], and reports whether the call is open. A call whose ending was
// announced is watched no longer.
func (l *Ledger) Watch(ctx context.Context, queue, id string) (open bool, err error) {
	return scriptWatch.Run(ctx, l.rdb, []string{keysOf(queue).record(id)}).Bool()
}
