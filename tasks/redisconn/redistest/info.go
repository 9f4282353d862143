package redistest

import (
	"bufio"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Info returns the fields of a section of Redis's INFO.
func Info(t testing.TB, client redis.UniversalClient, section string) map[string]string {
	t.Helper()
	text, err := client.Info(t.Context(), section).Result()
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]string{}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok {
			fields[name] = value
		}
	}
	return fields
}

// CPU returns how much processor time Redis has used since it was started.
func CPU(t testing.TB, client redis.UniversalClient) time.Duration {
	t.Helper()
	return cpu(t, client, "used_cpu_user", "used_cpu_sys")
}

// MainThread is [CPU] for the thread that executes commands.
func MainThread(t testing.TB, client redis.UniversalClient) time.Duration {
	t.Helper()
	return cpu(t, client, "used_cpu_user_main_thread", "used_cpu_sys_main_thread")
}

func cpu(t testing.TB, client redis.UniversalClient, names ...string) time.Duration {
	t.Helper()
	info := Info(t, client, "cpu")
	var sum float64
	for _, name := range names {
		seconds, err := strconv.ParseFloat(info[name], 64)
		if err != nil {
			t.Fatalf("INFO has %s as %q: %v", name, info[name], err)
		}
		sum += seconds
	}
	return time.Duration(sum * float64(time.Second))
}
