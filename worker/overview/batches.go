package overview

import (
	"context"
	"slices"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/history"
	"github.com/seed-2903acc3/callq/worker/limit"
)

// Batch is a batch with its progress.
type Batch struct {
	Name      string    `json:"batch"`
	Created   time.Time `json:"created"`
	Accepted  int64     `json:"accepted"`
	Open      int64     `json:"open"`
	Done      int64     `json:"done"`
	Dead      int64     `json:"dead"`
	Dropped   int64     `json:"dropped"`
	Cancelled int64     `json:"cancelled"`
	// Upstreams are those of its calls.
	Upstreams []string `json:"upstreams,omitempty"`
	// PerMinute is how many of its calls ended in the last minute.
	PerMinute int64 `json:"per_minute"`
	// Ends is when its last call will end, if the rate of the last minutes, the limits and
	// the holds stay as they are; zero if that cannot be said.
	Ends time.Time `json:"ends,omitzero"`
	// NoEnd says why Ends is not known.
	NoEnd string `json:"no_end,omitempty"`
}

// Notifications reports whether these are callq's notifications for a receiver.
func (b Batch) Notifications() bool { return ledger.IsNotification(b.Name) }

// rateOver is the time over which the rate of a batch is measured.
const rateOver = time.Minute

// Batches returns at most n batches, the newest first: those that are older than the batch
// of the name before, or the newest of all for "". next is the name with which the following
// ones are read; "" at the end.
func (r *Reader) Batches(ctx context.Context, before string, n int) (list []Batch, next string, err error) {
	found, next, err := r.ledger.RecentBatches(ctx, before, n)
	if err != nil {
		return nil, "", err
	}
	list, err = r.describe(ctx, found)
	return list, next, err
}

// Batch returns one batch, or [ledger.ErrNoBatch].
func (r *Reader) Batch(ctx context.Context, name string) (Batch, error) {
	b, err := r.ledger.Batch(ctx, name)
	if err != nil {
		return Batch{}, err
	}
	list, err := r.describe(ctx, []ledger.Batch{b})
	if err != nil {
		return Batch{}, err
	}
	return list[0], nil
}

func (r *Reader) describe(ctx context.Context, found []ledger.Batch) ([]Batch, error) {
	now, err := r.Read(ctx)
	if err != nil {
		return nil, err
	}
	open := slices.DeleteFunc(slices.Clone(found), func(b ledger.Batch) bool { return b.Counts.Open == 0 })
	ended, err := r.ledger.EndedSince(ctx, open, now.Now.Add(-rateOver))
	if err != nil {
		return nil, err
	}
	list := make([]Batch, len(found))
	for i, b := range found {
		list[i] = batchOf(b)
		if b.Counts.Open > 0 {
			list[i].forecast(now, sumByUpstream(b.Open), sumByUpstream(ended[b.Name]), r.plans)
		}
	}
	return list, nil
}

// batchOf returns a batch without a forecast.
func batchOf(b ledger.Batch) Batch {
	c := b.Counts
	one := Batch{
		Name: b.Name, Created: b.Created, Accepted: c.Accepted, Open: c.Open, Done: c.Done, Dead: c.Dead, Dropped: c.Dropped, Cancelled: c.Cancelled,
	}
	for _, queue := range b.Queues {
		if name := tasks.UpstreamOf(queue); !slices.Contains(one.Upstreams, name) {
			one.Upstreams = append(one.Upstreams, name)
		}
	}
	return one
}

func sumByUpstream(queues map[string]int64) map[string]int64 {
	sum := map[string]int64{}
	for queue, n := range queues {
		sum[tasks.UpstreamOf(queue)] += n
	}
	return sum
}

// forecast sets PerMinute, Ends and NoEnd. open and ended are how many calls of the batch
// are open, and have ended in the last minute, by upstream.
func (b *Batch) forecast(now *Overview, open, ended map[string]int64, plans map[string]*limit.Plan) {
	for _, n := range ended {
		b.PerMinute += n
	}
	for _, name := range b.Upstreams {
		if open[name] == 0 {
			continue
		}
		i := slices.IndexFunc(now.Upstreams, func(u Upstream) bool { return u.Name == name })
		if i < 0 {
			b.Ends, b.NoEnd = time.Time{}, name+": nothing is known of this upstream"
			return
		}
		u := now.Upstreams[i]
		end, why := u.ends(now.Now, open[name], ended[name], plans[name])
		if why != "" {
			b.Ends, b.NoEnd = time.Time{}, name+": "+why
			return
		}
		if end.After(b.Ends) {
			b.Ends = end
		}
	}
}

// ends returns when n open calls of a batch will have ended, of which some ended in the
// last minute; or why that cannot be said.
func (u Upstream) ends(now time.Time, n, endedLately int64, plan *limit.Plan) (time.Time, string) {
	start := now
	switch {
	case u.Workers == 0 && u.Inflight == 0:
		return time.Time{}, "no worker makes its calls"
	case u.Circuit.State == Flowing && endedLately == 0 && len(u.Endpoints) > 0:
		return time.Time{}, "no call ends while " + u.Endpoints[0].Name + " is paused"
	case u.Circuit.State == Flowing:
	case u.Circuit.needsPerson():
		return time.Time{}, "paused until somebody fixes the cause"
	case u.Circuit.Until.After(now):
		start = u.Circuit.Until
	}
	perMinute := float64(endedLately)
	if endedLately == 0 || u.Circuit.State != Flowing {
		perMinute = u.usualRate()
	}
	byLimits := plan.Duration(n, start)
	if perMinute == 0 && byLimits == 0 {
		return time.Time{}, "no call has ended yet"
	}
	byRate := time.Duration(0)
	if perMinute > 0 {
		byRate = time.Duration(float64(n) / perMinute * float64(time.Minute))
	}
	return start.Add(max(byRate, byLimits)).Truncate(time.Second), ""
}

// needsPerson reports whether only a person can end the hold for good.
func (c Circuit) needsPerson() bool {
	switch policy.Class(c.Class) {
	case policy.ClassAuth, policy.ClassBalance, policy.ClassConfig:
		return c.Refused
	}
	return false
}

// usualRate returns how many calls of the upstream end in a minute, by the last minutes in
// which any ended; 0 if none has in the last hour.
func (u Upstream) usualRate() float64 {
	const most = 10
	sum, n := 0.0, 0.0
	for i, m := range slices.Backward(u.Minutes) {
		ended := m.Counts[history.Done] + m.Counts[history.Dead] + m.Counts[history.Dropped]
		switch {
		case ended == 0 || i == len(u.Minutes)-1 && i > 0 && len(u.Minutes[i-1].Counts) > 0:
			continue // the present minute is not over
		case n == most:
			return sum / n
		}
		sum, n = sum+float64(ended), n+1
	}
	if n == 0 {
		return 0
	}
	return sum / n
}

// LatestEndings returns the n calls of a batch that ended last, the last one first.
func (r *Reader) LatestEndings(ctx context.Context, batch string, n int) ([]ledger.Record, error) {
	b, err := r.ledger.Batch(ctx, batch)
	if err != nil {
		return nil, err
	}
	return r.ledger.LatestEndings(ctx, b, n)
}

// LatestDead returns the n calls of a group that died last, the last one first.
func (r *Reader) LatestDead(ctx context.Context, group string, n int) ([]ledger.Record, error) {
	return r.ledger.LatestDead(ctx, group, n)
}

// DeadPage returns at most n dead letters of a group, the oldest first: those after a
// position, or the first ones for "". next is the position after them; "" at the end. It
// returns [tasks.ErrPosition] if after is not a position.
func (r *Reader) DeadPage(ctx context.Context, group, after string, n int) (letters []ledger.Record, next string, err error) {
	cur, err := ledger.ParseDeadCursor(after)
	if err != nil {
		return nil, "", tasks.ErrPosition
	}
	for letter, err := range r.ledger.DeadAfter(ctx, group, cur) {
		if err != nil {
			return nil, "", err
		}
		if len(letters) == n {
			return letters, next, nil
		}
		letters, next = append(letters, letter), cur.String()
	}
	return letters, "", nil
}

// FindCall returns the id of the call that an API refused with a correlation id in the last
// days, or "".
func (r *Reader) FindCall(ctx context.Context, correlationID string) (string, error) {
	now, err := r.Read(ctx)
	if err != nil {
		return "", err
	}
	var names []string
	for _, u := range now.Upstreams {
		names = append(names, u.Name)
	}
	return history.FindID(ctx, r.cfg.Redis, names, correlationID, now.Now)
}

// FindCalls returns the ids of at most n calls with the key, of the newest batches: as many
// of these as most says.
func (r *Reader) FindCalls(ctx context.Context, key string, n, most int) (ids []string, err error) {
	batches, err := r.ledger.BatchesWithKey(ctx, key, n, most)
	for _, batch := range batches {
		ids = append(ids, tasks.TaskID(batch, key))
	}
	return ids, err
}
