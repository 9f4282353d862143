// Package browsertest has the tests of the status page in a real browser. It is a module
// of its own, so that callq does not depend on the driver of the browser.
package browsertest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// binary is callq's program.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "callq-browser-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "callq")
		build := exec.Command("go", "build", "-o", binary, "./cmd/callq")
		build.Dir = filepath.Join("..", "..", "..")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build callq: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// tab is a page in a browser.
type tab struct {
	*testing.T
	ctx context.Context
	url string // of the admin server, without a slash at the end

	mu sync.Mutex
	// faults are errors in the console, and requests to other hosts.
	faults []string
}

// open starts a browser. The test is skipped if there is none, unless CALLQ_REQUIRE_BROWSER
// is set.
func open(t *testing.T, address string) *tab {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CALLQ_REQUIRE_BROWSER") != "" {
			t.Fatal("chromium is not installed, and CALLQ_REQUIRE_BROWSER is set")
		}
		t.Skip("chromium is not installed")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.Flag("no-sandbox", true), chromedp.Flag("no-proxy-server", true))
	ctx, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	ctx, stop = chromedp.NewContext(ctx)
	t.Cleanup(stop)
	b := &tab{T: t, ctx: ctx, url: strings.TrimSuffix(address, "/")}
	if err := chromedp.Listen(ctx, b.watch); err != nil {
		t.Fatalf("start chromium: %v", err)
	}
	for _, err := range []error{
		called(chromedp.Call(ctx, network.Enable, network.EnableParams{})),
		called(chromedp.Call(ctx, log.Enable, cdp.Empty{})),
		called(chromedp.Call(ctx, runtime.Enable, cdp.Empty{})),
	} {
		if err != nil {
			t.Fatalf("watch the page: %v", err)
		}
	}
	return b
}

func called(_ cdp.Empty, err error) error { return err }

// watch notes errors in the console and requests that leave this machine.
func (b *tab) watch(event any) {
	fault := ""
	switch e := event.(type) {
	case network.EventRequestWillBeSent:
		if u, err := url.Parse(e.Request.URL); err == nil && u.Scheme != "data" && u.Scheme != "blob" && u.Hostname() != "127.0.0.1" {
			fault = "a request leaves this machine: " + e.Request.URL
		}
	case runtime.EventExceptionThrown:
		fault = "exception: " + e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			fault += " " + e.ExceptionDetails.Exception.Description
		}
	case log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError {
			fault = fmt.Sprintf("console: %s %s", e.Entry.Text, e.Entry.URL)
		}
	}
	if fault == "" {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = append(b.faults, fault)
}

// clean fails the test if anything was noted, and forgets it.
func (b *tab) clean(where string) {
	b.Helper()
	for _, fault := range b.noted() {
		b.Errorf("%s: %s", where, fault)
	}
}

// noted returns what was noted, and forgets it.
func (b *tab) noted() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	noted := b.faults
	b.faults = nil
	return noted
}

// patience bounds each step.
const patience = 60 * time.Second

// run runs an action and returns its value.
func run[T any](b *tab, what string, action chromedp.Action[T]) T {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, action)
	if err != nil {
		b.shot("failed")
		b.Fatalf("%s: %v", what, err)
	}
	return value
}

// goTo opens a page of the admin server.
func (b *tab) goTo(path string) {
	b.Helper()
	run(b, "open "+path, chromedp.Navigate(b.url+path))
}

// click clicks the first element of a selector.
func (b *tab) click(selector string) {
	b.Helper()
	run(b, "click "+selector, chromedp.Click(chromedp.CSS(selector)))
}

// see waits until a selector is visible.
func (b *tab) see(selector string) {
	b.Helper()
	run(b, "see "+selector, chromedp.WaitVisible(chromedp.CSS(selector)))
}

// until waits until a script's expression is true, also while the browser goes to another
// page.
func (b *tab) until(what, expression string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	for {
		is, err := chromedp.Run(ctx, chromedp.Evaluate[bool](expression))
		switch {
		case err == nil && is:
			return
		case ctx.Err() != nil:
			b.shot("failed")
			b.Fatalf("it did not happen within %s: %s (%v)", patience, what, err)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// text returns the text of an element.
func (b *tab) text(selector string) string {
	b.Helper()
	return run(b, "read "+selector, chromedp.Text(chromedp.CSS(selector)))
}

// attribute returns an attribute of the first element of a selector.
func (b *tab) attribute(selector, name string) string {
	b.Helper()
	return run(b, "read "+name+" of "+selector, chromedp.AttributeValue(chromedp.CSS(selector), name)).Value
}

// shot keeps a picture of the whole page, if CALLQ_SCREENSHOTS names a folder.
func (b *tab) shot(name string) {
	dir := os.Getenv("CALLQ_SCREENSHOTS")
	if dir == "" {
		return
	}
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644))
	}
	if err != nil {
		b.Logf("no picture %s: %v", name, err)
	}
}

// looks sets the width of the screen, and whether pages are light or dark.
func (b *tab) looks(width int64, theme string) {
	b.Helper()
	viewport := []chromedp.EmulateViewportOption{}
	if width < 600 {
		viewport = append(viewport, chromedp.EmulateMobile)
	}
	run(b, "set the width", chromedp.EmulateViewport(width, 900, viewport...))
	err := called(chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}},
	}))
	if err != nil {
		b.Fatalf("the theme %s: %v", theme, err)
	}
}
