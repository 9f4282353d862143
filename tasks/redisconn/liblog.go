package redisconn

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/redis/go-redis/v9"
)

// LogLibrary sends go-redis's own log, which has raw errors of connections that it will
// retry, to the logger at level debug; by default go-redis writes it to standard error.
// It applies to the whole process, so main calls it.
func LogLibrary(l *slog.Logger) { redis.SetLogger(libraryLog{l}) }

type libraryLog struct{ log *slog.Logger }

func (l libraryLog) Printf(ctx context.Context, format string, args ...any) {
	if l.log.Enabled(ctx, slog.LevelDebug) {
		l.log.DebugContext(ctx, "go-redis", "text", fmt.Sprintf(format, args...))
	}
}
