//go:build unix

package redisconn

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-2903acc3/callq/tasks/redisinfo"
)

func fakeServer(t *testing.T, script string) {
	t.Helper()
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "redis-server"), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
}

func TestAServerThatCannotStartSaysWhy(t *testing.T) {
	dir := t.TempDir()
	fakeServer(t, `[ "$1" = --version ] && { echo "Redis server v=7.9.9 sha=0"; exit; }
echo "# Fatal: the format of the file is newer than this server"
exit 3`)
	_, err := Open(t.Context(), embeddedURL(dir), Options{})
	var trouble *redisinfo.Error
	if !errors.As(err, &trouble) || trouble.Kind != redisinfo.KindEmbedded {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{"exit status 3", "newer than this server", filepath.Join(dir, "redis.log")} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want it to contain %q", err, want)
		}
	}
}

func TestWithoutAServerProgramRedisRunsInTheProcess(t *testing.T) {
	for name, install := range map[string]func(*testing.T){
		"no server on PATH": func(t *testing.T) { t.Setenv("PATH", t.TempDir()) },
		"older than 7.0":    func(t *testing.T) { fakeServer(t, `echo "Redis server v=6.0.16 sha=0"`) },
	} {
		t.Run(name, func(t *testing.T) {
			install(t)
			t.Setenv("XDG_DATA_HOME", t.TempDir())
			_, err := Open(t.Context(), "embedded:", Options{RequireShared: true, Purpose: "send"})
			if !errors.Is(err, ErrNotShared) || !strings.Contains(err.Error(), "apt install") || !strings.HasPrefix(err.Error(), "send: ") {
				t.Fatalf("got %v", err)
			}
			c, err := Open(t.Context(), "embedded:", Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if !c.Volatile || !strings.Contains(c.Notice, "its data is lost") || strings.Contains(c.Notice, "\n") {
				t.Fatalf("got volatile %v, notice %q", c.Volatile, c.Notice)
			}
			set(t, c, "k", "v")
			mustGet(t, c, "k", "v")
			if left, _ := os.ReadDir(os.Getenv("XDG_DATA_HOME")); len(left) > 0 {
				t.Fatal("a folder was created without need")
			}
		})
	}
}

func TestARunningServerIsJoinedWithoutAProgramOnPATH(t *testing.T) {
	dir := dataDir(t)
	owner := openDir(t, dir)
	set(t, owner, "k", "v")
	t.Setenv("PATH", t.TempDir())
	joiner := openDir(t, dir)
	mustGet(t, joiner, "k", "v")
	_ = owner.Close()
	err := joiner.Explain(joiner.Client.Ping(t.Context()).Err())
	var trouble *redisinfo.Error
	if !errors.As(err, &trouble) || trouble.Kind != redisinfo.KindEmbedded || !strings.Contains(err.Error(), "apt install") {
		t.Fatalf("got %v", err)
	}
	c, err := Open(t.Context(), embeddedURL(dir), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if !strings.Contains(c.Notice, "cannot be read") {
		t.Fatalf("got notice %q, want it to mention the existing data", c.Notice)
	}
}

func TestKeysOfTheRedisInTheProcessExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := openMini(Options{}, "")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.Client.Set(t.Context(), "k", "v", time.Minute).Err(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Second) // by the bubble's clock
		mustGet(t, c, "k", "v")
		time.Sleep(15 * time.Second)
		if n := c.Client.Exists(t.Context(), "k").Val(); n != 0 {
			t.Fatal("the key still exists after its time")
		}
	})
}
