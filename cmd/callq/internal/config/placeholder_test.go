package config_test

import (
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
)

func TestPlaceholdersAreDistinguishedFromSecrets(t *testing.T) {
	for text, want := range map[string]string{
		"$TOKEN": "TOKEN", "$my_token": "my_token", "${TOKEN}": "TOKEN", "%TOKEN%": "TOKEN", "{{TOKEN}}": "TOKEN", "{{ TOKEN }}": "TOKEN", "{{ .Values.token }}": "token",
		"{{.Token}}": "Token", "${{ secrets.API_TOKEN }}": "API_TOKEN", "$env:TOKEN": "TOKEN", "$(TOKEN)": "TOKEN", "${TOKEN:-}": "TOKEN", "process.env.TOKEN": "TOKEN",
		"<%= TOKEN %>": "TOKEN", "Bearer $TOKEN": "TOKEN", "'$TOKEN'": "TOKEN", " $TOKEN ": "TOKEN",
		"<your token>": "", "<TOKEN>": "", "[token]": "", "{token}": "", "changeme": "", "CHANGE_ME": "", "change-this-please": "", "replace me": "", "todo": "", "TBD": "", "xxx": "", "XXXXXXXX": "",
		"***": "", "...": "", "…": "", "your-token": "", "YOUR_API_KEY": "", "your api key here": "", "my-secret-token": "", "insert_here": "", "token": "", "password": "", "API_KEY": "", "placeholder": "",
	} {
		name, ok := config.Placeholder(text)
		if !ok || name != want {
			t.Errorf("%q: got %q, %t; want %q", text, name, ok, want)
		}
	}
	for _, text := range []string{
		"sk-live-9f8e7d6c5b4a", "p$ssword1", "$2b$12$abcdefghijklmnopqrstuv", "100%sure", "%41%42", "a{b}c", "hunter2", "tokenring", "YTpi", "efficiency", "x1x", "ab", "$ecret!word", "$ecretword1", "$monkey1", "12345678", "your4ce",
	} {
		if name, ok := config.Placeholder(text); ok {
			t.Errorf("%q is treated as a placeholder (%q)", text, name)
		}
	}
}

func TestTheErrorForAPlaceholderSaysWhatToWrite(t *testing.T) {
	for text, want := range map[string]string{
		"$TOKEN":       `callq.yaml:1:88: upstreams.a.auth.token is the text "$TOKEN", not the value of a variable; write "${env:TOKEN}"`,
		"<your token>": `callq.yaml:1:88: upstreams.a.auth.token is the text "<your token>", which looks like a placeholder; write "${env:A_TOKEN}"`,
	} {
		err := token(t, "/etc/callq", text, nil).Unresolved()
		if err == nil || !strings.HasSuffix(err.Error(), strings.TrimPrefix(want, "callq.yaml:1:88")) || !strings.Contains(err.Error(), "callq.yaml:1:") {
			t.Errorf("%s: got %v", text, err)
		}
	}
	for _, text := range []string{"sk-1", "${env:TOKEN}", "Token ${file:token}"} {
		if err := token(t, "/etc/callq", text, nil).Unresolved(); err != nil {
			t.Errorf("%s: got %v", text, err)
		}
	}
	if err := (config.Secret{}).Unresolved(); err != nil {
		t.Error(err)
	}
}

func TestTheErrorForAVariableInAnotherFormShowsTheRightForm(t *testing.T) {
	for text, want := range map[string]string{"${TOKEN}": `"${env:TOKEN}"`, "Token ${API_TOKEN}": `${env:API_TOKEN}`, "${TOKEN:-x}": "${env:NAME}"} {
		file := "upstreams: {a: {base_url: https://a.example, policy: http, auth: {type: bearer, token: '" + text + "'}}}"
		if _, err := config.Parse("callq.yaml", []byte(file), config.Source{}); err == nil || !strings.Contains(err.Error(), strings.Trim(want, `"`)) {
			t.Errorf("%s: got %v", text, err)
		}
	}
}
