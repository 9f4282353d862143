package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/internal/programtest"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

func TestAWorkersSchedulesSendTheirFiles(t *testing.T) {
	t.Parallel()
	server := redistest.Redis(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "callq.yaml")
	text := fmt.Sprintf(`redis: %q
upstreams: {sim: {base_url: "http://127.0.0.1:1", policy: patsnap}}
schedules: [{name: often, cron: "* * * * *", file: calls.jsonl}]
`, server.URL)
	for name, text := range map[string]string{file: text, filepath.Join(dir, "calls.jsonl"): "{\"path\":\"/1\"}\n{\"path\":\"/2\"}\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	errs := &programtest.Log{}
	a := &app{stderr: errs, configPath: file, env: func(string) string { return "" }}
	cfg, err := a.config(config.Flag{}, config.Flag{})
	if err != nil {
		t.Fatal(err)
	}
	log := a.logger(slog.LevelInfo)
	d, err := a.connect(t.Context(), cfg, "work", true, log)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close(&err)
	// A minute that has just begun is sent late, so that the test need not wait for the next one.
	before := time.Now().Add(-10 * time.Minute).UnixMilli()
	if err := server.Client.HSet(t.Context(), "callq:{schedule:often}", "until * * * * * UTC", before).Err(); err != nil {
		t.Fatal(err)
	}
	stop := startSchedules(t.Context(), d, log)
	defer stop()
	await(t, "the batch", func() bool { return strings.Contains(errs.String(), "accepted=2") })
	batches, err := d.ledger.Batches(t.Context())
	if err != nil || len(batches) == 0 || !strings.HasPrefix(batches[0].Name, "often-2") || batches[0].Counts.Accepted != 2 {
		t.Errorf("got %+v, %v", batches, err)
	}
	if !strings.Contains(errs.String(), "a schedule missed ticks") {
		t.Errorf("the minutes before were not reported:\n%s", errs)
	}
	stop()
}
