package redisconn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/internal/pause"
	"github.com/seed-2903acc3/callq/tasks/redisconn/internal/redisproc"
	"github.com/seed-2903acc3/callq/tasks/redisinfo"
)

// ErrNotShared reports that only a Redis inside this process is available although
// other processes have to reach it.
var ErrNotShared = errors.New("this needs a Redis that other processes can reach")

// embeddedTimeout bounds the time in which the embedded server loads its file: enough
// for some millions of waiting calls.
const embeddedTimeout = 2 * time.Minute

// stopTimeout bounds the time in which the embedded server writes its file and ends.
const stopTimeout = 10 * time.Second

const howToInstall = "install one (Debian, Ubuntu: apt install redis-server; macOS: brew install valkey), or set redis: in callq.yaml to a Redis of your own"

func openEmbedded(ctx context.Context, t target, opts Options) (*Conn, error) {
	dir := t.path
	if dir == "" {
		var err error
		if dir, err = DefaultDir(opts.ConfigPath); err != nil {
			return nil, &redisinfo.Error{Kind: redisinfo.KindEmbedded, Where: t.describe(), Problem: redisinfo.SafeText(err), Err: err}
		}
		t.path = dir
	}
	e := &embedded{dir: dir, log: opts.Logger}
	switch running, err := e.probe(ctx); {
	case isFolderError(err):
		return nil, e.failure(err, redisinfo.SafeText(err), adviceFolder)
	case err != nil:
		return nil, redisinfo.Explain(err, t.describe())
	case running:
	default:
		if _, missing := pickServer(redisproc.Find()); missing != "" {
			if opts.RequireShared {
				return nil, fmt.Errorf("%s: %w, and there is %s; %s", opts.Purpose, ErrNotShared, missing, howToInstall)
			}
			return openMini(opts, volatileNotice(missing, dir))
		}
		if err := prepareDir(dir); isFolderError(err) {
			return nil, e.failure(err, redisinfo.SafeText(err), adviceFolder)
		} else if err != nil {
			return nil, e.failure(err, redisinfo.SafeText(err), "") // the error says what to do
		}
	}
	o := baseOptions(opts)
	o.Network, o.Addr = "unix", filepath.Join(dir, socketName)
	o.Dialer, o.DialTimeout, o.DialerRetries = e.dial, embeddedTimeout, 1
	client := redis.NewClient(o)
	joined := func(ctx context.Context) error {
		return e.join(ctx, func() error {
			if opts.Alone == nil {
				return nil
			}
			return redisinfo.Explain(opts.Alone(ctx, client), t.describe())
		})
	}
	return &Conn{Client: client, where: t.describe(), joined: joined, close: sync.OnceValue(func() error {
		err := client.Close()
		e.close()
		return err
	})}, nil
}

// pickServer returns the first program that is new enough, or what is missing.
func pickServer(found []redisproc.Binary) (path, missing string) {
	missing = "no valkey-server or redis-server on PATH"
	for _, b := range found {
		if !b.TooOld() {
			return b.Path, ""
		}
		missing = fmt.Sprintf("only %s %s on PATH, which is older than 7.0", b.Path, b.Version)
	}
	return "", missing
}

func volatileNotice(missing, dir string) string {
	s := "There is " + missing + ": Redis runs inside this process and its data is lost when the process ends."
	if _, err := os.Stat(filepath.Join(dir, lockName)); err == nil {
		s += " Data that an earlier callq left in " + dir + " cannot be read."
	}
	return s + " To keep data, " + howToInstall + "."
}

// embedded is a data folder as one process uses it: it connects to the folder's server
// and starts that server when there is none.
type embedded struct {
	dir string
	log *slog.Logger

	mu     sync.Mutex
	closed bool
	child  *redisproc.Process // the latest server that this process started

	users *os.File // locked by each process that has the folder open
}

// join marks the folder as open in this process, until the process ends in any way. If
// no other process has it open, alone is called first, and other processes that open
// the folder meanwhile wait.
func (e *embedded) join(ctx context.Context, alone func() error) error {
	path := filepath.Join(e.dir, usersName)
	for wait := 2 * time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		f, err := tryLock(path, exclusive)
		if err == nil {
			if err = alone(); err == nil {
				err = relock(f, shared)
			}
		} else if errors.Is(err, errLocked) {
			f, err = tryLock(path, shared)
		}
		switch {
		case err == nil:
			e.users = f
			return nil
		case f != nil:
			return errors.Join(err, f.Close())
		case !errors.Is(err, errLocked):
			return e.failure(err, "its file of users cannot be locked: "+redisinfo.SafeText(err), adviceLock)
		}
		if err := pause.For(ctx, wait); err != nil {
			return e.failure(err, "another process has been opening its data folder for too long", "end that process, or try again")
		}
	}
}

const adviceLock = "see that the folder is on a local disk and belongs to this user"

// probe reports whether the folder has a server, even one that is still starting.
func (e *embedded) probe(ctx context.Context) (bool, error) {
	socket, err := e.socket()
	if err != nil {
		return false, err
	}
	conn, err := redisproc.Dial(ctx, socket)
	switch {
	case errors.Is(err, redisproc.ErrAbsent):
		return false, nil
	case errors.Is(err, redisproc.ErrNotReady):
		return true, nil
	case err != nil:
		return false, err
	}
	return true, conn.Close()
}

// dial is go-redis's dialer. It returns a connection to a server that answers. It
// starts the server if none listens and no other process is starting it. A server that
// it started keeps running if ctx ends first; the next dial finds it.
func (e *embedded) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	for wait := 2 * time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		socket, err := e.socket()
		if err != nil {
			return nil, e.failure(err, redisinfo.SafeText(err), "")
		}
		conn, err := redisproc.Dial(ctx, socket)
		if err == nil {
			return conn, nil
		}
		loading := errors.Is(err, redisproc.ErrNotReady)
		switch {
		case loading:
		case errors.Is(err, redisproc.ErrAbsent):
			s, err := e.start()
			if err != nil {
				return nil, err
			}
			if s != nil {
				return e.await(ctx, s)
			}
		default:
			return nil, err
		}
		if err := pause.For(ctx, wait); err != nil {
			if loading {
				return nil, e.failure(err, "it is still loading its data, or ending", "try again in a moment")
			}
			return nil, e.failure(err, "its data folder is in use "+e.holder()+", which does not answer", "end that process, or try again")
		}
	}
}

func (e *embedded) failure(cause error, problem, advice string) *redisinfo.Error {
	t := target{scheme: schemeEmbedded, path: e.dir}
	return &redisinfo.Error{Kind: redisinfo.KindEmbedded, Where: t.describe(), Problem: problem, Advice: advice, Err: cause}
}

type starting struct {
	process *redisproc.Process
	socket  string
	log     string // the file
	from    int64  // where this server's part of the log begins
}

// start starts the server. It returns nil without an error if the folder's lock shows
// that there is one; the caller then dials again.
func (e *embedded) start() (*starting, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, redis.ErrClosed
	}
	if err := prepareDir(e.dir); err != nil {
		return nil, e.failure(err, redisinfo.SafeText(err), "")
	}
	lock, err := tryLock(filepath.Join(e.dir, lockName), exclusive)
	if errors.Is(err, errLocked) {
		return nil, nil
	}
	if err != nil {
		return nil, e.failure(err, "its lock file cannot be locked: "+redisinfo.SafeText(err), adviceLock)
	}
	// The server got the descriptor, and so holds the lock as long as it lives.
	defer lock.Close()

	binary, missing := pickServer(redisproc.Find())
	if missing != "" {
		return nil, e.failure(nil, "its server has ended, and there is "+missing+" to start it again", howToInstall)
	}
	socket, err := placeSocket(e.dir)
	if err != nil {
		return nil, e.failure(err, redisinfo.SafeText(err), "")
	}
	s := &starting{socket: socket, log: filepath.Join(e.dir, "redis.log")}
	output, err := openLog(s.log)
	if err != nil {
		return nil, e.failure(err, "its log cannot be written: "+redisinfo.SafeText(err), "see that the folder belongs to this user and that its disk has room")
	}
	defer output.Close()
	if info, err := output.Stat(); err == nil {
		s.from = info.Size()
	}
	s.process, err = redisproc.Start(redisproc.Spec{
		Binary: binary, Dir: e.dir, Socket: socket, Output: output, Keep: []*os.File{lock},
	})
	if err != nil {
		return nil, e.failure(err, binary+" cannot be started: "+redisinfo.SafeText(err), howToInstall)
	}
	writeHolder(lock, s.process.Pid())
	e.child = s.process
	e.log.Debug("the embedded Redis was started", "program", binary, "pid", s.process.Pid(), "dir", e.dir)
	go e.watch(s.process)
	return s, nil
}

func (e *embedded) await(ctx context.Context, s *starting) (net.Conn, error) {
	conn, err := redisproc.Await(ctx, s.socket, s.process)
	if err == nil {
		return conn, nil
	}
	select {
	case <-s.process.Done():
		problem := "its server ended while starting (" + s.process.Exit() + ")"
		if last := lastLine(s.log, s.from); last != "" {
			problem += ": " + last
		}
		return nil, e.failure(err, problem, "its log is "+s.log)
	default:
		return nil, err
	}
}

// watch logs that a server ended without a request, and releases it.
func (e *embedded) watch(p *redisproc.Process) {
	<-p.Done()
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closed {
		e.log.Warn("the embedded Redis ended; it is started again when it is needed", "how", p.Exit(), "dir", e.dir, "log", filepath.Join(e.dir, "redis.log"))
	}
}

// holder returns which process uses the folder, as far as its lock file shows.
func (e *embedded) holder() string {
	data, err := os.ReadFile(filepath.Join(e.dir, lockName))
	if pid := strings.TrimSpace(string(data)); err == nil && pid != "" {
		return fmt.Sprintf("by process %.20q", pid)
	}
	return "by another process"
}

// close ends the server if this process owns it. Other clients are paused first: their
// earlier commands are answered, and their later ones are not begun, so that they can
// repeat those on the next server without doing anything twice.
func (e *embedded) close() {
	e.mu.Lock()
	e.closed = true
	child := e.child
	e.mu.Unlock()
	if e.users != nil {
		defer e.users.Close()
	}
	if child == nil {
		return
	}
	select {
	case <-child.Done():
		return
	default:
	}
	e.pauseClients()
	child.Stop(stopTimeout)
}

func (e *embedded) pauseClients() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	socket, err := e.socket()
	if err != nil {
		return
	}
	conn, err := redisproc.Dial(ctx, socket)
	if err != nil {
		return
	}
	defer conn.Close()
	// If the pause fails, the server ends all the same.
	_, _ = redisproc.Ask(ctx, conn, "CLIENT", "PAUSE", "10000", "ALL")
}
