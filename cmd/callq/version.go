package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// versions are the versions of this program and its libraries.
type versions struct {
	Callq     string `json:"callq"`
	Revision  string `json:"revision,omitempty"`
	Go        string `json:"go"`
	Asynq     string `json:"asynq"`
	GoRedis   string `json:"go_redis"`
	Gobreaker string `json:"gobreaker"`
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the versions of callq and of its libraries",
		Args:  takes(),
		RunE:  func(*cobra.Command, []string) error { return a.printVersions() },
	}
}

func (a *app) printVersions() error {
	v := versionsOf(debug.ReadBuildInfo())
	if a.json {
		return a.printJSON(v)
	}
	revision := ""
	if v.Revision != "" {
		revision = " (" + v.Revision + ")"
	}
	_, err := fmt.Fprintf(a.stdout, "callq %s%s\ngo %s\nasynq %s\ngo-redis %s\ngobreaker %s\n",
		v.Callq, revision, v.Go, v.Asynq, v.GoRedis, v.Gobreaker)
	return err
}

// versionsOf reads the versions that the linker recorded. A build from a working tree has no
// version; it is "dev".
func versionsOf(info *debug.BuildInfo, ok bool) versions {
	const unknown = "unknown"
	v := versions{Callq: "dev", Go: strings.TrimPrefix(runtime.Version(), "go"), Asynq: unknown, GoRedis: unknown, Gobreaker: unknown}
	if !ok || info == nil {
		return v
	}
	if info.Main.Version != "(devel)" {
		v.Callq = cmp.Or(info.Main.Version, v.Callq)
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			v.Revision = setting.Value
		}
	}
	for _, module := range info.Deps {
		if module.Replace != nil {
			module = module.Replace
		}
		switch module.Path {
		case "github.com/hibiken/asynq":
			v.Asynq = module.Version
		case "github.com/redis/go-redis/v9":
			v.GoRedis = module.Version
		case "github.com/sony/gobreaker/v2":
			v.Gobreaker = module.Version
		}
	}
	return v
}
