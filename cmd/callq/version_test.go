package main

import (
	"runtime/debug"
	"testing"
)

func TestVersionsAreReadFromTheBuild(t *testing.T) {
	info := &debug.BuildInfo{
		Main:     debug.Module{Path: "github.com/seed-2903acc3/callq", Version: "v0.1.0"},
		Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}},
		Deps: []*debug.Module{
			{Path: "github.com/hibiken/asynq", Version: "v0.26.0"},
			{Path: "github.com/redis/go-redis/v9", Version: "v9.0.0", Replace: &debug.Module{Path: "github.com/redis/go-redis/v9", Version: "v9.23.0"}},
			{Path: "github.com/sony/gobreaker/v2", Version: "v2.4.0"},
		},
	}
	v := versionsOf(info, true)
	v.Go = ""
	if want := (versions{Callq: "v0.1.0", Revision: "abc", Asynq: "v0.26.0", GoRedis: "v9.23.0", Gobreaker: "v2.4.0"}); v != want {
		t.Errorf("got %+v", v)
	}
}

func TestABuildWithoutAVersionIsDev(t *testing.T) {
	for _, v := range []versions{versionsOf(nil, false), versionsOf(&debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, true), versionsOf(&debug.BuildInfo{}, true)} {
		if v.Callq != "dev" || v.Go == "" {
			t.Errorf("got %+v", v)
		}
	}
}
