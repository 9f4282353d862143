package ledger

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// With appendfsync everysec Redis answers its clients before it has written their
// commands to the file: for up to 2 s, while an fsync takes long. If its process is
// killed then, these commands are lost. So a call that must not be sent twice is sent
// only after Redis has passed the mark to the operating system. WAITAOF would wait for
// the disk as well, half a second on average, and does not exist before 7.2; INFO says
// how many bytes of the append-only file are still to be written.

const (
	// writtenTimeout bounds the wait for a mark to be written: Redis itself gives up
	// waiting for an fsync after 2 s.
	writtenTimeout = 10 * time.Second
	// writtenPause is the longest time between two requests.
	writtenPause = 20 * time.Millisecond
	// settingsFor is for how long an answer about Redis's settings is used.
	settingsFor = time.Second
)

// errNotWritten reports that a mark was only in memory when the wait for it ended.
var errNotWritten = errors.New("Redis has not written its append-only file for 10 s")

// writer waits for one Redis process to write marks. One request asks for all marks
// that wait.
type writer struct {
	rdb redis.Cmdable

	mu      sync.Mutex
	waiting []*unwritten
	asking  bool
	// safeUntil is until when no request is needed: Redis writes before it answers,
	// writes nothing at all, or does not report it.
	safeUntil time.Time
	// asked is when the settings were last requested; denied reports that this user may
	// not request them.
	asked  time.Time
	denied bool
	sync   string // appendfsync
}

// unwritten is a mark that waits to be written.
type unwritten struct {
	record, gen, mark string
	deadline          time.Time
	// target is the size of the append-only file that includes the mark; 0 if it is not
	// known yet.
	target int64
	// base is the file's base when the target was read.
	base int64
	done chan error // nil; errMarkLost; or why the state is not known
}

// errMarkLost reports that Redis has forgotten a mark before it was written.
var errMarkLost = errors.New("Redis has lost the mark")

// aof is what Redis reports about its append-only file.
type aof struct {
	on bool
	// size is how many bytes are written, pending how many are not yet; base is the
	// size after the last rewrite.
	size, pending, base int64
}

func parseAOF(info string) aof {
	a, answers := aof{}, 0
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		n, err := strconv.ParseInt(value, 10, 64)
		switch {
		case err != nil:
		case name == "aof_enabled":
			a.on = n == 1
		case name == "aof_current_size":
			a.size, answers = n, answers+1
		case name == "aof_base_size":
			a.base = n
		case name == "aof_buffer_length":
			a.pending, answers = n, answers+1
		}
	}
	a.on = a.on && answers == 2
	return a
}

// writerOf returns the writer of the Redis process that stores a record.
func (d *Dispatcher) writerOf(ctx context.Context, record string) (*writer, error) {
	var node redis.Cmdable = d.rdb
	if c, ok := d.rdb.(*redis.ClusterClient); ok {
		master, err := c.MasterForKey(ctx, record)
		if err != nil {
			return nil, err
		}
		node = master
	}
	w, _ := d.writers.LoadOrStore(node, &writer{rdb: node})
	return w.(*writer), nil
}

// awaitWritten waits until a mark survives the end of Redis's process. It returns false
// if Redis has lost the mark, or the record has moved on.
func (d *Dispatcher) awaitWritten(ctx context.Context, record string, generation int, mark string) (bool, error) {
	w, err := d.writerOf(ctx, record)
	if err != nil {
		return false, err
	}
	m := &unwritten{
		record: record, gen: strconv.Itoa(generation), mark: mark,
		deadline: time.Now().Add(writtenTimeout), done: make(chan error, 1),
	}
	if !w.add(m) {
		return true, nil
	}
	select {
	case err = <-m.done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if errors.Is(err, errMarkLost) {
		return false, nil
	}
	return err == nil, err
}

// add adds a mark to wait for, and returns true, unless no wait is needed.
func (w *writer) add(m *unwritten) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Now().Before(w.safeUntil) {
		return false
	}
	w.waiting = append(w.waiting, m)
	if !w.asking {
		w.asking = true
		go w.ask()
	}
	return true
}

// ask asks Redis until no mark waits any more.
func (w *writer) ask() {
	var marks []*unwritten
	pause := time.Millisecond
	for {
		w.mu.Lock()
		fresh := len(w.waiting) > 0
		marks = append(marks, w.waiting...)
		w.waiting = nil
		if len(marks) == 0 {
			w.asking = false
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
		if fresh {
			pause = time.Millisecond
		}
		if marks = w.round(marks); len(marks) > 0 {
			<-time.After(pause)
			pause = min(2*pause, writtenPause)
		}
	}
}

// round asks once, and returns the marks that are not written yet. It reads the marks
// on the connection on which it then reads the file's size: a Redis that was restarted
// in between does not have them, or has read them from its file.
func (w *writer) round(marks []*unwritten) []*unwritten {
	ctx, cancel := context.WithTimeout(context.Background(), writtenTimeout)
	defer cancel()
	pipe := w.rdb.Pipeline()
	var setting *redis.MapStringStringCmd
	if !w.denied && time.Since(w.asked) >= settingsFor {
		setting = pipe.ConfigGet(ctx, "appendfsync")
	}
	records := make([]*redis.SliceCmd, len(marks))
	for i, m := range marks {
		records[i] = pipe.HMGet(ctx, m.record, "gen", "mark")
	}
	info := pipe.Info(ctx, "persistence")
	_, _ = pipe.Exec(ctx) // each command has its own error
	if setting != nil {
		w.learn(setting)
	}
	a, err := parseAOF(info.Val()), info.Err()
	if withheld(err) {
		a, err = aof{}, nil // Redis does not report it; doctor says so
	}
	if err == nil && (!a.on || w.sync == "always" || w.sync == "no") {
		w.mu.Lock()
		w.safeUntil = time.Now().Add(settingsFor)
		w.mu.Unlock()
		a.pending = 0
	}
	var left []*unwritten
	for i, m := range marks {
		found, readErr := records[i].Result()
		switch {
		case err != nil:
			m.done <- fmt.Errorf("ask whether the mark is written: %w", err)
		case readErr != nil:
			m.done <- fmt.Errorf("read the mark: %w", readErr)
		case found[0] != m.gen || found[1] != m.mark:
			m.done <- errMarkLost
		case a.pending == 0, m.target > 0 && a.base == m.base && a.size >= m.target:
			m.done <- nil
		case time.Now().After(m.deadline):
			m.done <- errNotWritten
		default:
			// After a rewrite the file has another size for the same content.
			if m.target == 0 || a.base != m.base {
				m.target, m.base = a.size+a.pending, a.base
			}
			left = append(left, m)
		}
	}
	return left
}

// withheld reports that Redis never answers this request, to this user or at all; not
// that it cannot now, as while it loads its file.
func withheld(err error) bool {
	var reply redis.Error
	if !errors.As(err, &reply) {
		return false
	}
	// If it cannot now, the reply begins with a code such as LOADING. miniredis has no
	// code.
	code, _, _ := strings.Cut(reply.Error(), " ")
	return code == "NOPERM" || code == "ERR" || code != strings.ToUpper(code)
}

// learn stores the settings. With always Redis writes to the file and to the disk
// before it answers; with no it writes to the file before it answers.
func (w *writer) learn(setting *redis.MapStringStringCmd) {
	values, err := setting.Result()
	w.denied = withheld(err)
	w.asked, w.sync = time.Now(), values["appendfsync"]
}
