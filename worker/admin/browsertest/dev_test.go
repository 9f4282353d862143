package browsertest

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startDev starts callq dev and returns the address of its dashboard.
func startDev(t *testing.T) string {
	t.Helper()
	cmd := exec.Command(binary, "dev", "--addr", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	address, ended := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(ended)
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			if _, rest, found := strings.Cut(lines.Text(), "Dashboard: "); found {
				address <- strings.Fields(rest)[0]
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		_ = cmd.Wait() // it was told to end
	})
	select {
	case found := <-address:
		return found
	case <-ended:
		t.Fatal("callq dev ended before it printed the address of its dashboard")
	case <-time.After(patience):
		t.Fatal("callq dev did not print the address of its dashboard")
	}
	return ""
}

const live = `document.getElementById("live").classList.contains("on")`

func TestAPersonSeesAHoldAndRedrivesDeadLetters(t *testing.T) {
	b := open(t, startDev(t))
	b.looks(1280, "light")
	b.goTo("/")
	b.until("the page is live", live)

	// The quota's circuit opens, with a count-down that runs, and closes again.
	b.until("the account is paused", `document.querySelector("#upstream-simapi.paused .countdown time") !== null`)
	b.shot("overview-paused-1280-light")
	b.until("the count-down runs", `(() => {
		const at = document.querySelector("#upstream-simapi.paused .countdown time");
		if (!at) return false;
		window.first ??= at.textContent;
		return at.textContent !== window.first;
	})()`)
	b.until("calls flow again", `document.querySelector("#upstream-simapi.flowing") !== null`)
	b.until("all calls have ended", `[...document.querySelectorAll("#recent .ends")].some((e) => e.textContent.trim() === "ended")`)
	b.clean("the overview")

	// A dead call's timeline.
	b.click("#groups .groups a.count")
	b.see("#examples .example")
	b.click("#examples .example summary")
	b.see("#examples .example[open] .timeline li")
	b.shot("example-1280-light")
	dryRun := b.attribute("#redrive", "href")
	b.click("#examples .example[open] a")
	b.see("#timeline .dead_letter")
	b.shot("call-1280-light")
	b.clean("the call")

	// The group is redriven, with a dry run first.
	b.goTo(dryRun)
	if text := b.text("#dry-run"); !strings.Contains(text, "nothing has changed yet") {
		t.Errorf("the dry run says %q", text)
	}
	b.shot("redrive-1280-light")
	calls := strings.Fields(b.text("#confirm"))[1]
	b.click("#confirm")
	b.until("the group was redriven", `document.querySelector(".note")?.textContent.includes("Redriven: `+calls+`") ?? false`)
	b.clean("the redrive")

	// asynq's dashboard has the tasks.
	b.goTo("/asynqmon/queues/simapi?status=archived")
	b.until("asynqmon lists dead calls", `document.querySelectorAll("tbody tr").length > 0`)
	b.shot("asynqmon-1280-light")
	b.noted() // asynqmon asks another host for fonts; its page forbids it
	b.everyPage()
}

// everyPage opens each page at the widths of a screen and of a phone, in both themes.
func (b *tab) everyPage() {
	b.Helper()
	b.goTo("/")
	pages := map[string]string{
		"overview": "/", "batches": "/batches", "dead": "/dead",
		"batch": b.attribute("#recent tbody a", "href"), "group": b.attribute("#groups .groups a.count", "href"),
	}
	for width, suffix := range map[int64]string{1280: "-1280-", 390: "-390-"} {
		for _, theme := range []string{"light", "dark"} {
			b.looks(width, theme)
			for name, path := range pages {
				b.goTo(path)
				b.until("the page "+path+" is live", live)
				b.until("the page "+path+" is as wide as the screen", `document.documentElement.scrollWidth <= document.documentElement.clientWidth`)
				b.shot(name + suffix + theme)
				b.clean(path)
			}
		}
	}
}
