package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks/broker"
)

func checkConfig(_ context.Context, d *doctor) ([]diagnosis, error) {
	var list []diagnosis
	if _, err := os.Stat(d.cfg.Path); errors.Is(err, os.ErrNotExist) {
		list = append(list, diagnosis{Status: noted, Detail: d.cfg.Path + " is not there; the defaults hold"})
	}
	if len(d.cfg.Upstreams) == 0 {
		list = append(list, diagnosis{
			Status: noted, Detail: "no upstream is configured, so no call can be sent",
			Fix: "write the API's base_url, policy and auth into " + d.cfg.Path,
		})
	}
	return orWell(list, "%s: %s", d.cfg.Path, plural(len(d.cfg.Upstreams), "upstream")), nil
}

// each makes a diagnosis of every error that is joined in err.
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

// credential is a secret of the configuration.
type credential struct {
	value config.Secret
	// key tells that it is for the admin address.
	admin bool
}

func credentialsOf(cfg *config.Config) []credential {
	var list []credential
	for _, u := range cfg.Upstreams {
		a := u.Auth
		values := []config.Secret{a.Token, a.Username, a.Password, a.Value}
		if o := a.OAuth2; o != nil {
			values = append(values, o.ClientID, o.ClientSecret)
			for _, q := range o.Query {
				values = append(values, q.Value)
			}
		}
		for _, v := range values {
			list = append(list, credential{value: v})
		}
	}
	for _, t := range cfg.Admin.Tokens {
		list = append(list, credential{value: t.Token, admin: true})
	}
	return slices.DeleteFunc(list, func(c credential) bool { return c.value.IsZero() })
}

// checkCredentials reads what the configuration refers to. What is for the admin
// address may be missing where callq admin does not run.
func checkCredentials(_ context.Context, d *doctor) ([]diagnosis, error) {
	list := each(d.cfg.ResolveUpstreams(), found)
	list = append(list, each(d.cfg.ResolveAdmin(), noted)...)
	all := credentialsOf(d.cfg)
	for _, c := range all {
		if _, err := c.value.Read(); err != nil {
			status := found
			if c.admin {
				status = noted
			}
			if one := (diagnosis{Status: status, Detail: err.Error()}); !slices.Contains(list, one) {
				list = append(list, one)
			}
		}
	}
	return orWell(list, "%s can be read", plural(len(all), "credential")), nil
}

// checkFiles looks for credentials that every user of this machine can read.
func checkFiles(_ context.Context, d *doctor) ([]diagnosis, error) {
	files := credentialFiles(d.cfg)
	var list []diagnosis
	for _, path := range files {
		if openToAll(path) {
			list = append(list, diagnosis{
				Status: found, Detail: fmt.Sprintf("%s holds a credential and everybody on this machine can read it", path),
				Fix: "chmod o-rwx " + path,
			})
		}
	}
	return orWell(list, "%s with credentials, none open to everybody", plural(len(files), "file")), nil
}

func checkPolicies(_ context.Context, d *doctor) ([]diagnosis, error) {
	var list []diagnosis
	for _, u := range d.cfg.Upstreams {
		_, err := loadPolicy(u)
		var inside policy.Errors
		if errors.As(err, &inside) {
			err = inside
		}
		for _, one := range each(err, found) {
			one.Fix = "callq policy lint " + u.Policy
			list = append(list, one)
		}
	}
	return orWell(list, "%s of %s", "the policies", plural(len(d.cfg.Upstreams), "upstream")), nil
}

func checkAsynq(ctx context.Context, _ *doctor) ([]diagnosis, error) {
	if err := broker.CheckScripts(ctx); err != nil {
		return []diagnosis{{
			Status: found, Detail: err.Error(),
			Fix: "go get github.com/hibiken/asynq@" + broker.AsynqVersion + ", and build this program anew",
		}}, nil
	}
	return well("asynq's scripts are the ones that this callq knows"), nil
}
