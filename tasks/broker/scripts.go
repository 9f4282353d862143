package broker

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
)

// AsynqVersion is the version of asynq that this callq was made for.
const AsynqVersion = "v0.26.0"

// The SHA-1 digests of the asynq scripts that callq replaces, as of [AsynqVersion]. A
// contract test derives them from the linked asynq, so that an upgrade which changes
// one of them fails there and not in production.
const (
	shaEnqueue = "98d28b42650870a743450ffda9791e9e19c6991b"
	shaDequeue = "a8153319360adc71cdc370107f8ab9786f204765"
	shaDone    = "1241eaa1c73409baaf1fea0c08d203a4911bda15"
	shaForward = "522b1a6ae66fe79ea2f24a9af58798ab71879035"
	shaExpired = "16988a462595f6ee317be300951533b004f27f5c" // lists the tasks whose lease is over
)

// ErrUnknownScript reports that the linked asynq runs another script than the one that
// callq replaces. Nothing was sent to Redis: without its own dequeue script callq could
// neither keep a hold nor balance its ledger.
var ErrUnknownScript = errors.New("asynq's scripts are not those that this callq was made for")

// asynqVersion names the asynq that is linked into this binary.
func asynqVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "of an unknown version"
	}
	for _, dep := range info.Deps {
		if dep.Path == "github.com/hibiken/asynq" {
			return dep.Version
		}
	}
	return "of an unknown version"
}

func unknownScript(what, sha string) error {
	return fmt.Errorf("%w: the %s script of asynq %s has digest %s; this callq was made for asynq %s: build it with that version",
		ErrUnknownScript, what, asynqVersion(), sha, AsynqVersion)
}

// looksLikeDequeue recognizes asynq's dequeue by the keys that it is called with, so
// that a changed script is noticed.
func looksLikeDequeue(keys []string) bool {
	return len(keys) == 4 &&
		strings.HasSuffix(keys[0], ":pending") && strings.HasSuffix(keys[1], ":paused") &&
		strings.HasSuffix(keys[2], ":active") && strings.HasSuffix(keys[3], ":lease")
}

// queueOf returns the queue's name in an asynq key, "asynq:{NAME}:pending".
func queueOf(key string) string {
	_, rest, _ := strings.Cut(key, "{")
	name, _, _ := strings.Cut(rest, "}")
	return name
}
