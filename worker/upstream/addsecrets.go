package upstream

import (
	"encoding/base64"
	"net/url"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/seed-2903acc3/callq/worker/redact"
)

// addTokenSecrets adds to secrets the credentials in an answer of the token endpoint: the
// texts under field and under the usual names for credentials (RFC 6749, 5.1:
// access_token, refresh_token; OpenID Connect: id_token), at any depth.
func addTokenSecrets(secrets *redact.Redactor, body []byte, field string) {
	if !isJSONObject(body) {
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

// namesToken reports whether token endpoints return a credential under the name. It is
// false for token_type and token_endpoint.
func namesToken(name string) bool {
	return strings.HasSuffix(name, "token") || strings.HasSuffix(name, "secret") || strings.HasSuffix(name, "assertion") || name == "jwt"
}

// addProxySecrets adds to secrets the credentials in the proxy URLs of the environment.
// net/http sends them as Proxy-Authorization, and its errors quote a URL that it cannot
// parse. get returns an environment variable. The secrets are permanent because the
// environment is read only once.
func addProxySecrets(secrets *redact.Redactor, get func(string) string) {
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
			user, password = "", user // a key instead of a user name
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

// addURLSecrets adds to secrets the parameters of a URL with the usual names for
// credentials. They are permanent because the URL is read only once.
func addURLSecrets(secrets *redact.Redactor, raw string) {
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
