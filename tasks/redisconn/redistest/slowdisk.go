package redistest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// slowSync makes a program's fsync slow, as on a slow or busy disk. Written data is in
// the operating system all the same, so a kill does not lose it.
const slowSync = `
#include <stdlib.h>
#include <unistd.h>
static int nap(void) { const char *ms = getenv("SLOWSYNC_MS"); if (ms) usleep(atoi(ms) * 1000); return 0; }
int fdatasync(int fd) { (void)fd; return nap(); }
int fsync(int fd) { (void)fd; return nap(); }
`

// SlowDisk starts an empty server with appendfsync everysec whose fsync takes the time
// sync: the server answers its clients before it has written their commands, and a kill
// loses what it has not written. Without a C compiler the test is skipped, or fails if
// CALLQ_REQUIRE_REDIS is 1.
func SlowDisk(t testing.TB, sync time.Duration) *Server {
	t.Helper()
	compiler, err := exec.LookPath("gcc")
	if err != nil {
		compiler, err = exec.LookPath("clang")
	}
	if err != nil {
		skip(t, "no gcc or clang on PATHto build the slow fsync")
	}
	dir := t.TempDir()
	source, library := filepath.Join(dir, "slow.c"), filepath.Join(dir, "slow.so")
	if err := os.WriteFile(source, []byte(slowSync), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), compiler, "-shared", "-fPIC", "-o", library, source).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", compiler, err, out)
	}
	return startServer(t, []string{"LD_PRELOAD=" + library, "SLOWSYNC_MS=" + strconv.FormatInt(sync.Milliseconds(), 10)})
}
