package main

import (
	"slices"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/worker/notify"
)

// credential is a secret of the configuration, or a user name beside one.
type credential struct {
	value config.Secret
	// admin reports that it is for the admin address, notify that it is for notifications.
	// Commands that use neither do not need it.
	admin, notify bool
	// public reports that it is a user name or an address, and not a secret.
	public bool
	// words are the words that precede it in requests and answers, for
	// [worker.Redactor.Add].
	words []string
}

// credentialsOf returns all credentials of the configuration. callq removes them from what
// it prints, and doctor checks them.
func credentialsOf(cfg *config.Config) []credential {
	var list []credential
	for _, u := range cfg.Upstreams {
		a := u.Auth
		// The worker does the same: if the user name is a reference and the password is
		// written in the file, the user name is the API's key.
		public := a.Password.Kind() != config.Literal || a.Username.Kind() == config.Literal
		list = append(list,
			credential{value: a.Token, words: []string{"Bearer"}},
			credential{value: a.Username, public: public, words: []string{"Basic"}},
			credential{value: a.Password, words: []string{"password"}},
			credential{value: a.Value, words: []string{a.Name}},
		)
		if o := a.OAuth2; o != nil {
			list = append(list, credential{value: o.ClientID, public: true}, credential{value: o.ClientSecret, words: []string{"client_secret"}})
			for _, q := range o.Query {
				list = append(list, credential{value: q.Value, words: []string{q.Name}})
			}
		}
	}
	for _, r := range cfg.Notify {
		// An address of Slack is a credential: who knows it can post.
		public := r.URL.Kind() == config.Literal && r.Format != notify.FormatSlack
		list = append(list, credential{value: r.URL, notify: true, public: public}, credential{value: r.Secret, notify: true, words: []string{"secret"}})
	}
	for _, t := range cfg.Admin.Tokens {
		list = append(list, credential{value: t.Token, admin: true, words: []string{"Bearer"}})
	}
	return slices.DeleteFunc(list, func(c credential) bool { return c.value.IsZero() })
}
