package upstream

import (
	"encoding/base64"
	"net/url"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/seed-2903acc3/callq/worker/redact"
)

// learnTokens tells secrets of the credentials in the token endpoint's answer:
// what stands under a name that credentials go by (RFC 6749, 5.1: access_token,
// refresh_token; OpenID Connect: id_token), or under field, at any depth.
func learnTokens(secrets *redact.Redactor, body []byte, field string) {
	if !validObject(body) {
		return
	}
	field = field[strings.LastIndexByte(field, '.')+1:]
	var walk func(gjson.Result)
	walk = func(v gjson.Result) {
		v.ForEach(func(key, value gjson.Result) bool {
			switch name := strings.ToLower(key.Str); {
			case value.IsObject() || value.IsArray():
				walk(value)
			case value.Type != gjson.String:
			case field != "" && key.Str == field, namesToken(name):
				secrets.Add(value.Str, name)
			}
			return true
		})
	}
	walk(gjson.ParseBytes(body))
}

// namesToken reports whether a token endpoint gives a credential under that name.
// What is under token_type or token_endpoint is none.
func namesToken(name string) bool {
	return strings.HasSuffix(name, "token") || strings.HasSuffix(name, "secret") || strings.HasSuffix(name, "assertion") || name == "jwt"
}

// learnProxies tells secrets of the credentials in the proxies of the environment,
// which net/http sends as Proxy-Authorization, and which its errors quote where a
// URL cannot be read. get reads a variable. They are read once, and so kept.
func learnProxies(secrets *redact.Redactor, get func(string) string) {
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"} {
		value := get(name)
		at := strings.LastIndexByte(value, '@')
		if at < 0 {
			continue
		}
		info := value[:at]
		if i := strings.Index(info, "://"); i >= 0 {
			info = info[i+len("://"):]
		}
		user, password, ok := strings.Cut(info, ":")
		if !ok {
			user, password = "", user // a key in the place of the user name
		}
		for _, v := range []string{password, unescaped(password)} {
			secrets.AddPermanent(v, user, unescaped(user), "Proxy-Authorization")
		}
		user, password = unescaped(user), unescaped(password)
		if !ok {
			user, password = password, ""
		}
		secrets.AddPermanent(base64.StdEncoding.EncodeToString([]byte(user+":"+password)), "Basic")
	}
}

func unescaped(s string) string {
	if plain, err := url.PathUnescape(s); err == nil {
		return plain
	}
	return s
}

// learnQuery tells secrets of the parameters of a URL that credentials go by. They are
// read once, and so kept.
func learnQuery(secrets *redact.Redactor, raw string) {
	u, err := url.Parse(raw)
	if err != nil {
		return
	}
	for name, values := range u.Query() {
		if redact.NamesCredential(name) {
			for _, v := range values {
				secrets.AddPermanent(v, name)
			}
		}
	}
}
