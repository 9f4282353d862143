package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

// logged runs a command line that logs at three levels, and returns what it wrote.
func logged(t *testing.T, service, terminal bool, args ...string) string {
	t.Helper()
	var errs bytes.Buffer
	a := newApp(nil, &errs, &errs, func(string) string { return "" })
	a.terminal = terminal
	root := a.root()
	cmd, _, err := root.Find([]string{map[bool]string{true: "work", false: "audit"}[service]})
	if err == nil {
		err = cmd.ParseFlags(args)
	}
	if err == nil {
		err = a.beginLogs(cmd, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	log := a.logger(slog.LevelWarn)
	log.Info("one", "wait", time.Second)
	log.Warn("two", "wait", time.Second)
	return errs.String()
}

func TestAServiceLogsJSONUnlessStderrIsATerminal(t *testing.T) {
	for _, c := range []struct {
		service, terminal bool
		args              []string
		json              bool
	}{
		{service: true, json: true},
		{service: true, terminal: true},
		{service: true, args: []string{"--log-format", "text"}},
		{service: true, terminal: true, args: []string{"--log-format=json"}, json: true},
		{service: false},
		{service: false, args: []string{"--log-format=json"}, json: true},
	} {
		said := logged(t, c.service, c.terminal, c.args...)
		var line struct{ Level, Msg, Wait string }
		isJSON := json.Unmarshal([]byte(said), &line) == nil
		if isJSON != c.json || c.json && (line.Level != "WARN" || line.Msg != "two" || line.Wait != "1s") || !c.json && !strings.Contains(said, "level=WARN msg=two wait=1s") {
			t.Errorf("%+v: %s", c, said)
		}
	}
}

func TestTheLogLevelOfTheCommandLineReplacesThatOfTheCommand(t *testing.T) {
	for level, want := range map[string]int{"debug": 2, "info": 2, "warn": 1, "error": 0} {
		if said := logged(t, true, false, "--log-level", level); strings.Count(said, "\n") != want {
			t.Errorf("%s: %s", level, said)
		}
	}
}

func TestNoSecretIsInAJSONLog(t *testing.T) {
	var errs bytes.Buffer
	a := newApp(nil, nil, &errs, func(string) string { return "" })
	a.logs.format.value = logJSON
	a.secrets.Add(`to"ken<of>some&length`)
	a.logger(slog.LevelInfo).Info("refused", "error", fmt.Errorf(`bad to"ken<of>some&length`), "text", `to"ken<of>some&length`)
	if said := errs.String(); strings.Contains(said, "ken") || !strings.Contains(said, `"msg":"refused"`) {
		t.Errorf("logged %s", said)
	}
}

func TestARunPrintsFailedCallsAndLogsThemOnlyIfItIsAsked(t *testing.T) {
	for level, want := range map[string]bool{"": false, "info": true} {
		var errs bytes.Buffer
		a := newApp(nil, nil, &errs, func(string) string { return "" })
		a.logs.level.value = level
		log := a.runLogger().With("a", 1).WithGroup("g")
		log.Warn(worker.AttemptFailed)
		log.Warn("the credential could not be refreshed")
		if said := errs.String(); strings.Contains(said, worker.AttemptFailed) != want || !strings.Contains(said, "refreshed") {
			t.Errorf("--log-level %q: %s", level, said)
		}
	}
}

func TestAWorkerLogsFailuresAsJSONLines(t *testing.T) {
	t.Parallel()
	h := newHome(t, filepath.Dir(redistest.Binary(t)))
	_, url := simulate(t, simapi.Config{Script: simapi.MustParseScript("GET /gone -> 68300004")})
	h.write("callq.yaml", fmt.Sprintf("upstreams: {sim: {base_url: %q, policy: patsnap}}\n", url))
	cmd, _, _ := h.command("work", "--listen", "127.0.0.1:0")
	errs, signal, end := h.startCommand(cmd)
	await(t, "the worker", func() bool { return strings.Contains(errs.String(), `"msg":"working"`) })
	h.callq(exitFailedCalls, "send", "GET", "/gone", "--key", "k", "--batch", "b", "--wait")
	signal(syscall.SIGTERM)
	if status := end(); status != exitOK {
		t.Errorf("exit status %d", status)
	}
	failures := 0
	for text := range strings.Lines(errs.String()) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Errorf("%v: %s", err, text)
		}
		if line["msg"] != worker.AttemptFailed {
			continue
		}
		failures++
		for name, want := range map[string]any{"batch": "b", "key": "k", "upstream": "sim", "class": "bad_parameter", "action": "drop", "error_code": "68300004", "attempt": 1.0} {
			if line[name] != want {
				t.Errorf("%s is %v, want %v", name, line[name], want)
			}
		}
		for _, name := range []string{"call", "rule", "correlation_id", "error_message"} {
			if line[name] == "" || line[name] == nil {
				t.Errorf("%s is missing", name)
			}
		}
	}
	if failures != 1 {
		t.Errorf("%d failures were logged:\n%s", failures, errs)
	}
}
