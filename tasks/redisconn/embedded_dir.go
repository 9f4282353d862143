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

// The files of a data folder, in addition to the server's own.
const (
	lockName   = "lock"       // held by the living server; its text is the server's process id
	usersName  = "users"      // held by every process that has the folder open
	socketName = "redis.sock" // unless the path would be too long
	whereName  = "socket"     // the path of the socket, if that is in another folder
)

// maxLog is the size in bytes from which the server's log is renamed at a start.
const maxLog = 1 << 20

// DefaultDir is the folder of the embedded Redis that belongs to a configuration file:
// under $XDG_DATA_HOME, or ~/.local/share, named by the file's absolute path. The file
// need not exist.
func DefaultDir(configPath string) (string, error) {
	abs, err := filepath.Abs(configPath)
	if err != nil {
		return "", fmt.Errorf("find the data folder of the embedded Redis: %w", err)
	}
	base := os.Getenv("XDG_DATA_HOME")
	if !filepath.IsAbs(base) { // the XDG specification says that a relative path is to be ignored
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

// prepareDir creates the folder, with access for its owner only. An existing folder
// with access for others is closed to them only if it is empty or was used by callq
// before: embedded:///tmp must not close /tmp to all other users.
func prepareDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create the folder of the embedded Redis: %w", err)
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

// isFolderError reports that the system refused access to the folder or a file in it.
func isFolderError(err error) bool {
	var path *fs.PathError
	return errors.As(err, &path)
}

var errOpenToOthers = errors.New("other users can reach it")

func openToOthers(dir string) error {
	return fmt.Errorf("the folder %s cannot hold an embedded Redis: %w; name a folder of its own, or chmod 700 this one", dir, errOpenToOthers)
}

// socket returns the path on which the folder's server listens.
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

// placeSocket chooses the socket's path and removes the socket of a dead server. The
// caller holds the folder's lock. A path that is too long for a socket is replaced by a
// short one, which is written to a file, since other processes may have other folders
// for temporary files.
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
		return "", fmt.Errorf("remove an old socket: %w", err)
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
		// In a folder that everybody can write to, another user may have created it
		// first.
		if last = checkPrivate(short); last == nil {
			return short, nil
		}
	}
	return "", fmt.Errorf("the path %s is too long for a socket, and no folder with a shorter path was found (%w); name a folder with a shorter path: embedded:///DIR", dir, last)
}

func openLog(path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > maxLog {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}

// lastLine returns the last line of a server's log after the offset.
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

// writeHolder writes the server's process id for people; callq does not depend on it.
func writeHolder(lock *os.File, pid int) {
	if lock.Truncate(0) == nil {
		_, _ = lock.WriteAt([]byte(strconv.Itoa(pid)+"\n"), 0)
	}
}
