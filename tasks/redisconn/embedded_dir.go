package redisconn

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/seed-2903acc3/callq/tasks/redisconn/internal/redisproc"
	"github.com/seed-2903acc3/callq/tasks/redisinfo"
)

// The files of a data folder, beside the server's own.
const (
	lockName   = "lock"       // held by the living server; its text is the server's process id
	usersName  = "users"      // held by every process that has the folder open
	socketName = "redis.sock" // unless the path would be too long
	whereName  = "socket"     // the path of the socket, when it is elsewhere
)

// maxLog is the size in bytes from which the server's log is set aside at a start.
const maxLog = 1 << 20

// DefaultDir is the folder of the embedded Redis that belongs to a configuration
// file: under $XDG_DATA_HOME, or ~/.local/share, by the file's absolute path. The
// file need not exist.
func DefaultDir(configPath string) (string, error) {
	abs, err := filepath.Abs(configPath)
	if err != nil {
		return "", fmt.Errorf("find the data folder of the embedded Redis: %w", err)
	}
	base := os.Getenv("XDG_DATA_HOME")
	if !filepath.IsAbs(base) { // the XDG specification: a relative one is to be ignored
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("find the data folder of the embedded Redis: %w; set XDG_DATA_HOME, or name a folder: embedded:///DIR", err)
		}
		base = filepath.Join(home, ".local", "share")
	}
	return filepath.Join(base, "callq", "embedded-"+shortHash(abs)), nil
}

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:8])
}

// prepareDir makes the folder, for its owner alone. A folder that is there already
// and open to others is closed to them only when it is empty or has served before:
// embedded:///tmp must not lock everybody out of /tmp.
func prepareDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the folder of the embedded Redis: %w", err)
	}
	err := checkPrivate(dir)
	if err == nil || !errors.Is(err, errOpenToOthers) {
		return err
	}
	_, served := os.Lstat(filepath.Join(dir, lockName))
	entries, readErr := os.ReadDir(dir)
	if served != nil && (readErr != nil || len(entries) > 0) {
		return err
	}
	if chmodErr := os.Chmod(dir, 0o700); chmodErr != nil {
		return err
	}
	return nil
}

const adviceFolder = `choose another folder as redis: "embedded:///DIR", or a Redis of your own as redis: redis://HOST:PORT/DB`

// isFolders tells that the system refused the folder or a file in it.
func isFolders(err error) bool {
	var path *fs.PathError
	return errors.As(err, &path)
}

var errOpenToOthers = errors.New("other users can reach it")

func openToOthers(dir string) error {
	return fmt.Errorf("the folder %s cannot hold an embedded Redis: %w; name a folder of its own, or chmod 700 this one", dir, errOpenToOthers)
}

// socket is where the folder's server listens.
func (e *embedded) socket() (string, error) {
	data, err := os.ReadFile(filepath.Join(e.dir, whereName))
	if errors.Is(err, fs.ErrNotExist) {
		return filepath.Join(e.dir, socketName), nil
	}
	if err != nil {
		return "", fmt.Errorf("find the socket of the embedded Redis: %w", err)
	}
	path := strings.TrimSpace(string(data))
	err = checkPrivate(filepath.Dir(path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("the socket of the embedded Redis is not safe: %w", err)
	}
	return path, nil
}

// placeSocket chooses the socket's path and clears away what a dead server left
// there. The caller has the folder's lock. A path that is too long for a socket is
// replaced by a short one, which is written down: other processes may see other
// folders for temporary files.
func placeSocket(dir string) (string, error) {
	note := filepath.Join(dir, whereName)
	path := filepath.Join(dir, socketName)
	if len(path) <= redisproc.MaxSocketPath {
		if err := os.Remove(note); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("place the socket of the embedded Redis: %w", err)
		}
	} else {
		short, err := shortDir(dir)
		if err != nil {
			return "", err
		}
		path = filepath.Join(short, socketName)
		if err := os.WriteFile(note, []byte(path+"\n"), 0o600); err != nil {
			return "", fmt.Errorf("place the socket of the embedded Redis: %w", err)
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("clear an old socket away: %w", err)
	}
	return path, nil
}

func shortDir(dir string) (string, error) {
	var last error
	for _, base := range []string{os.Getenv("XDG_RUNTIME_DIR"), os.TempDir(), "/tmp"} {
		short := filepath.Join(base, "callq-"+shortHash(dir))
		if !filepath.IsAbs(base) || len(short)+1+len(socketName) > redisproc.MaxSocketPath {
			continue
		}
		if last = os.Mkdir(short, 0o700); last != nil && !errors.Is(last, fs.ErrExist) {
			continue
		}
		// In a folder that everybody writes to, somebody else may have been first.
		if last = checkPrivate(short); last == nil {
			return short, nil
		}
	}
	return "", fmt.Errorf("the path %s is too long for a socket, and no shorter place was found (%w); name a folder with a shorter path: embedded:///DIR", dir, last)
}

func openLog(path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > maxLog {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}

// lastLine is the last line that a server wrote into its log from the offset on.
func lastLine(path string, from int64) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	data, err := io.ReadAll(io.NewSectionReader(f, from, 1<<16))
	if err != nil {
		return ""
	}
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	return redisinfo.SafeText(errors.New(string(lines[len(lines)-1])))
}

// writeHolder leaves the server's process id for people; nothing depends on it.
func writeHolder(lock *os.File, pid int) {
	if lock.Truncate(0) == nil {
		_, _ = lock.WriteAt([]byte(strconv.Itoa(pid)+"\n"), 0)
	}
}
