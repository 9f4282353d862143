package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/policy/yamlfile"
	"github.com/seed-2903acc3/callq/tasks/broker"
	"github.com/seed-2903acc3/callq/tasks/redisconn"
	"github.com/seed-2903acc3/callq/worker/redact"
)

func checkConfig(_ context.Context, d *doctor) ([]diagnosis, error) {
	var list []diagnosis
	if _, err := os.Stat(d.cfg.Path); errors.Is(err, os.ErrNotExist) {
		list = append(list, diagnosis{Status: noted, Detail: d.cfg.Path + " does not exist; the defaults apply"})
	}
	if len(d.cfg.Upstreams) == 0 {
		list = append(list, diagnosis{
			Status: found, Detail: "no upstream is configured, so no call can be sent",
			Fix: "write an example with callq init, or write the API's base_url, policy and auth into " + d.cfg.Path,
		})
	}
	return orWell(list, "%s: %s", d.cfg.Path, console.Plural(len(d.cfg.Upstreams), "upstream")), nil
}

// each returns a diagnosis for every error that is joined in err.
func each(err error, status health) []diagnosis {
	if err == nil {
		return nil
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var list []diagnosis
		for _, one := range many.Unwrap() {
			list = append(list, each(one, status)...)
		}
		return list
	}
	return []diagnosis{{Status: status, Detail: err.Error()}}
}

// checkCredentials reads the references of the configuration. Those for the admin address and
// for notifications may be missing on machines without callq work.
func checkCredentials(_ context.Context, d *doctor) ([]diagnosis, error) {
	list := each(d.cfg.ResolveUpstreams(), found)
	list = append(list, each(d.cfg.ResolveAdmin(), noted)...)
	list = append(list, each(d.cfg.ResolveNotify(), noted)...)
	all := credentialsOf(d.cfg)
	for _, c := range all {
		if _, err := c.value.Read(); err != nil {
			status := found
			if c.admin || c.notify {
				status = noted
			}
			if one := (diagnosis{Status: status, Detail: err.Error()}); !slices.Contains(list, one) {
				list = append(list, one)
			}
		}
	}
	for _, c := range all {
		list = append(list, checkWording(c)...)
	}
	if err := redisInFile(d.cfg); err != nil {
		list = append(list, diagnosis{Status: noted, Detail: err.Error()})
	}
	return orWell(list, "%s can be read", console.Plural(len(all), "credential")), nil
}

// checkWording checks the value of a credential, if it can be read.
func checkWording(c credential) []diagnosis {
	if err := c.value.Unresolved(); err != nil {
		return []diagnosis{{Status: found, Detail: err.Error()}}
	}
	if c.public {
		return nil
	}
	var list []diagnosis
	if _, literal := c.value.Text(); literal {
		list = append(list, diagnosis{Status: noted, Detail: c.value.InFile().Error()})
	}
	value, err := c.value.Read()
	if err != nil {
		return list // checkCredentials has reported it
	}
	at := c.value.Pos()
	if redact.Short(value) {
		list = append(list, diagnosis{
			Status: noted, Detail: at.Errorf("%s is short or a word, so it may be a part of ordinary text: callq removes it from answers, logs and results only "+
				"in places for credentials", c.value.Key()).Error(),
			Fix: "use a secret of 12 characters or more, or of 8 with a digit or a sign",
		})
	}
	if !c.admin && slices.Contains(c.words, "Bearer") && len(value) > 7 && strings.EqualFold(value[:7], "Bearer ") {
		list = append(list, diagnosis{
			Status: found, Detail: at.Errorf("%s begins with Bearer, which callq adds itself: the API gets Bearer twice", c.value.Key()).Error(),
			Fix: "remove Bearer and the space after it from the value",
		})
	}
	return list
}

// redisInFile returns the error that the password of Redis is written in the configuration
// file itself, or nil.
func redisInFile(cfg *config.Config) error {
	url, literal := cfg.Redis.Text()
	if !literal || cfg.Redis.Pos().Line == 0 {
		return nil
	}
	if password, _ := redisconn.Credentials(url); !password {
		return nil
	}
	return cfg.Redis.Pos().Errorf(`redis contains a password that is written in this file, where everybody who reads or copies the file sees it; write redis: "${env:CALLQ_REDIS_URL}" and set the variable`)
}

// checkFiles looks for credentials that every user of this machine can read.
func checkFiles(_ context.Context, d *doctor) ([]diagnosis, error) {
	files := credentialFiles(d.cfg)
	var list []diagnosis
	for _, path := range files {
		if openToAll(path) {
			list = append(list, diagnosis{
				Status: found, Detail: fmt.Sprintf("%s contains a credential and everybody on this machine can read it", path),
				Fix: "chmod o-rwx " + path,
			})
		}
	}
	return orWell(list, "%s with credentials, none readable for everybody", console.Plural(len(files), "file")), nil
}

func checkPolicies(_ context.Context, d *doctor) ([]diagnosis, error) {
	var list, left []diagnosis
	for _, u := range d.cfg.Upstreams {
		for _, one := range u.Defaults {
			left = append(left, well("%s: %s from the policy: %s (%s)", u.Name, one.Key, one.Value, one.Where)...)
		}
		_, err := loadPolicy(u)
		var inside yamlfile.Errors
		if errors.As(err, &inside) {
			err = inside
		}
		for _, one := range each(err, found) {
			one.Fix = "callq policy lint " + u.Policy
			list = append(list, one)
		}
	}
	return append(orWell(list, "%s of %s", "the policies", console.Plural(len(d.cfg.Upstreams), "upstream")), left...), nil
}

func checkAsynq(ctx context.Context, _ *doctor) ([]diagnosis, error) {
	if err := broker.CheckScripts(ctx); err != nil {
		return []diagnosis{{
			Status: found, Detail: err.Error(),
			Fix: "go get github.com/hibiken/asynq@" + broker.AsynqVersion + ", and build this program again",
		}}, nil
	}
	return well("the version of asynq is the one that this callq supports"), nil
}
