package fleettest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/internal/programtest"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

// clockOff is the environment variable for a program of [wrongClocks]: how many seconds its
// clock is ahead, or, below zero, behind.
const clockOff = "CLOCK_OFF"

// wrongClocks returns the path of a callq whose clock can be set wrong, built once for all
// tests. All processes of a machine have the same clock, so this one is built with a
// time.Now that adds an offset.
var wrongClocks = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", err
	}
	pkg := filepath.Join(strings.TrimSpace(string(out)), "src", "time")
	source, err := os.ReadFile(filepath.Join(pkg, "time.go"))
	if err != nil {
		return "", err
	}
	const now = "\tsec, nsec, mono := runtimeNow()\n\tif mono == 0 {\n"
	changed := strings.Replace(string(source), now, strings.Replace(now, "\n", "\n\tsec += clockOff\n", 1), 1)
	if changed == string(source) {
		return "", fmt.Errorf("time.Now of this Go is not as expected: it does not begin with %q", now)
	}
	const off = "package time\n\nimport \"syscall\"\n\nvar clockOff = func() int64 {\n" +
		"\ts, _ := syscall.Getenv(\"" + clockOff + "\")\n\tn, _ := atoi(s)\n\treturn int64(n)\n}()\n"
	replace := map[string]string{}
	for name, text := range map[string]string{"time.go": changed, "clockoff.go": off} {
		path := filepath.Join(built.dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return "", err
		}
		replace[filepath.Join(pkg, name)] = path
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	list := filepath.Join(built.dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		return "", err
	}
	path := filepath.Join(built.dir, "callq-clock")
	// Everything that imports time is compiled again, which takes a minute: less without
	// optimizations. Tests that measure run meanwhile.
	if err := programtest.Build(path, "-p", "1", "-gcflags=all=-N -l -dwarf=false", "-ldflags=-s", "-overlay", list); err != nil {
		return "", fmt.Errorf("building callq with another time.Now: %w", err)
	}
	return path, nil
})

func TestAWorkerWhoseClockIsTenMinutesWrongTakesNoCallAndNoneFromAnother(t *testing.T) {
	t.Parallel()
	redistest.Binary(t) // a test that is skipped builds nothing
	program(t)          // makes the folder
	wrong, err := wrongClocks()
	if err != nil {
		t.Fatal(err)
	}
	s := faults(t)
	s.calls /= 3
	s.processes = 2
	f := start(t, setup{size: s})
	// By these clocks the leases of long calls have expired, or never expire. Some calls wait
	// for another attempt.
	f.script("* /b/*7 -> 68300008; ok latency=100ms forever\n* * -> ok latency=400ms forever")
	const batch = "b"
	f.sendMixed(batch, s.calls)
	f.awaitAPI("a busy fleet", func(now simapi.Stats) bool { return now.Arrivals >= int64(s.capacity()) })
	off := map[*process]string{
		f.addOf(wrong, clockOff+"=600"):  "10m0s ahead of",
		f.addOf(wrong, clockOff+"=-600"): "10m0s behind",
	}
	for p, how := range off {
		f.await("a worker with a wrong clock to work", p.works)
		f.await("it to log that", func() bool {
			return strings.Contains(p.log.String(), "this machine's clock is "+how+" Redis's: no call starts here until they agree")
		})
		if status, text := p.ready(); status != http.StatusServiceUnavailable || !strings.Contains(text, "10m0s apart") {
			t.Errorf("a worker whose clock is %s Redis's answers /readyz with %d %s", how, status, text)
		}
	}
	if status, text := f.processes[0].ready(); status != http.StatusOK {
		t.Errorf("a worker with a right clock answers /readyz with %d %s", status, text)
	}
	f.awaitEnded(batch, 0)
	for _, c := range f.sim.Calls() {
		for p := range off {
			if c.Headers[workerHeader] == p.name {
				t.Fatalf("%s made %s", p.name, c.Path)
			}
		}
	}
	f.wantAllDoneOnce(batch, s.calls)
	if again := f.madeAgain(batch); again > 0 {
		t.Errorf("%d calls were made twice: they were reclaimed from their running workers", again)
	}
	// They drain like other workers.
	for p := range off {
		if status := p.terminate(); status != 0 {
			t.Errorf("%s ended with status %d", p.name, status)
		}
	}
}

var adminAddress = regexp.MustCompile(`admin=(http://\S+)`)

// ready asks the process whether it is ready.
func (p *process) ready() (status int, text string) {
	p.t.Helper()
	found := adminAddress.FindStringSubmatch(p.log.String())
	if found == nil {
		p.t.Fatalf("%s has not logged its admin address", p.name)
	}
	client := http.Client{Timeout: 10 * time.Second}
	answer, err := client.Get(strings.TrimSuffix(found[1], "/") + "/readyz")
	if err != nil {
		p.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}
