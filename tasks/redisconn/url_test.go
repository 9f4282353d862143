package redisconn

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestEveryFormOfTheURLIsParsed(t *testing.T) {
	tests := []struct {
		url      string
		want     target
		describe string
	}{
		{"redis://h:1/2", target{scheme: schemeRedis, addrs: []string{"h:1"}, db: 2}, "redis://h:1/2"},
		{"redis://h", target{scheme: schemeRedis, addrs: []string{"h:6379"}}, "redis://h:6379/0"},
		{"redis:///3", target{scheme: schemeRedis, addrs: []string{"localhost:6379"}, db: 3}, "redis://localhost:6379/3"},
		{"redis://[::1]:7/0", target{scheme: schemeRedis, addrs: []string{"[::1]:7"}}, "redis://[::1]:7/0"},
		{"redis://u:p%40%2F%3F%23@h:1/0", target{scheme: schemeRedis, addrs: []string{"h:1"}, user: "u", pass: "p@/?#"}, "redis://h:1/0"},
		{"redis://:p:q@h:1", target{scheme: schemeRedis, addrs: []string{"h:1"}, pass: "p:q"}, "redis://h:1/0"},
		{
			"rediss://u:p@h:1/0?ca=/ca.pem&cert=c&key=k&server_name=n",
			target{scheme: schemeTLS, addrs: []string{"h:1"}, user: "u", pass: "p", tls: true, ca: "/ca.pem", cert: "c", key: "k", serverName: "n"},
			"rediss://h:1/0",
		},
		{"unix:///run/redis.sock?db=4", target{scheme: schemeUnix, path: "/run/redis.sock", db: 4}, "unix:///run/redis.sock?db=4"},
		{"unix://u:p@/a%20b@c", target{scheme: schemeUnix, path: "/a b@c", user: "u", pass: "p"}, "unix:///a%20b@c?db=0"},
		{
			"redis-sentinel://u:p@h1:1,h2/mymaster?db=5&sentinel_username=su&sentinel_password=sp&tls=true&ca=c",
			target{scheme: schemeSentinel, addrs: []string{"h1:1", "h2:26379"}, user: "u", pass: "p", master: "mymaster", db: 5, sentinelUser: "su", sentinelPass: "sp", tls: true, ca: "c"},
			"redis-sentinel://h1:1,h2:26379/mymaster?db=5",
		},
		{"redis-cluster://h1:1,h2:2", target{scheme: schemeCluster, addrs: []string{"h1:1", "h2:2"}}, "redis-cluster://h1:1,h2:2"},
		{"redis-cluster://:p@h1:1/?tls=true", target{scheme: schemeCluster, addrs: []string{"h1:1"}, pass: "p", tls: true}, "redis-cluster://h1:1"},
		{"embedded:", target{scheme: schemeEmbedded}, "embedded:"},
		{"embedded:///var/lib/my%20data/", target{scheme: schemeEmbedded, path: "/var/lib/my data"}, "embedded:///var/lib/my%20data"},
	}
	for _, tt := range tests {
		got, err := parseURL(tt.url)
		if err != nil {
			t.Errorf("%s: %v", tt.url, err)
			continue
		}
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", tt.url, got, tt.want)
		}
		if d := got.describe(); d != tt.describe {
			t.Errorf("%s: got description %s, want %s", tt.url, d, tt.describe)
		}
	}
}

func TestTheErrorForAWrongURLSaysHowToWriteIt(t *testing.T) {
	tests := []struct{ url, says string }{
		{"", "redis://host:port/db"},
		{"localhost:6379", "redis://host:port/db"},
		{"hunter22:hunter22@localhost:6379", "redis://host:port/db"},
		{"http://hunter22", "redis-cluster://"},
		{"embedded", "embedded:"},
		{"embedded://data", "absolute path"},
		{"embedded:///a?db=1", "no options"},
		{"embedded:///a%zz", "%25"},
		{"redis://u:hunter22/x@h:1/0", "%2F"},
		{"redis://u:1/hunter22@h:1/0", "%2F"},
		{"redis://u:1?hunter22@h:1/0", "%3F"},
		{"redis://u:1#hunter22@h:1/0", "%23"},
		{"redis://u:%hunter22@h:1/0", "%25"},
		{"redis://hunter22@h:1/0", ":password@"},
		{"redis://u:@h:1/0", ":password@"},
		{"redis://h:1,h:2/0", "redis-sentinel://"},
		{"redis://h:hunter22/0", "1 to 65535"},
		{"redis://h:0/0", "1 to 65535"},
		{"redis://h:65536/0", "1 to 65535"},
		{"redis://hun ter/0", "host 1"},
		{"redis://[::1/0", "]"},
		{"redis://[h]/0", "IPv6"},
		{"redis://[::1]x/0", ":port"},
		{"redis://h:1/hunter22", "number of a database"},
		{"redis://h:1/-1", "number of a database"},
		{"redis://h:1/0?db=1", "has none"},
		{"redis://h:1/0?hunter22=1", "has none"},
		{"rediss://h:1/0?skip_verify=true", "server_name"},
		{"rediss://h:1/0?cert=c", "go together"},
		{"rediss://h:1/0?ca=a&ca=b", "one value"},
		{"rediss://h:1/0?ca=%zz", "cannot be read"},
		{"redis://h:1/0\n", "control character"},
		{"unix://run/redis.sock", "three slashes"},
		{"unix:///", "path of a socket"},
		{"unix:///s?db=x", "option db"},
		{"redis-sentinel://h:1", "MASTER"},
		{"redis-sentinel://h:1/a/b", "MASTER"},
		{"redis-sentinel:///m", "host 1"},
		{"redis-sentinel://h:1/m?sentinel_username=hunter22", "sentinel_password"},
		{"redis-sentinel://h:1/m?ca=c", "tls=true"},
		{"redis-cluster://h:1/1", "database 0 only"},
		{"redis-cluster://h:1,,h:2", "host 2"},
		{"redis-cluster://h:1?tls=hunter22", "true or false"},
	}
	for _, tt := range tests {
		err := Validate(tt.url)
		if !errors.Is(err, ErrURL) {
			t.Errorf("%q: got %v", tt.url, err)
			continue
		}
		if !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%q: got %q, want it to contain %q", tt.url, err, tt.says)
		}
		if strings.Contains(err.Error(), "hunter22") {
			t.Errorf("%q: the secret is in %q", tt.url, err)
		}
	}
}

// The secret is where a user would write it, unescaped: whether the URL is well-formed
// or not, neither the error nor the description may contain it.
func TestNoErrorOrDescriptionOfAURLHasItsSecrets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret := "S" + rapid.StringMatching(`[A-Za-z0-9/?#@:%&=,;\[\] ]{6,20}`).Draw(t, "secret") + "X"
		form := rapid.SampledFrom([]string{
			"redis://u:SECRET@h:1/0", "redis://SECRET@h:1/0", "redis://:SECRET@h/0", "rediss://u:SECRET@h:1/0?ca=x",
			"unix://u:SECRET@/s?db=0", "redis-sentinel://u:SECRET@h:1/m", "redis-cluster://u:SECRET@h:1,h:2",
			"redis-sentinel://h:1/m?sentinel_username=u&sentinel_password=SECRET", "SECRET@h:1", "SECRET", "redis:SECRET@h:1",
		}).Draw(t, "form")
		got, err := parseURL(strings.ReplaceAll(form, "SECRET", secret))
		said := ""
		if err != nil {
			said = err.Error()
		} else if got.pass != "" || got.sentinelPass != "" {
			said = got.describe()
		}
		// A secret is split at its special characters, and a part of it is a leak as
		// well.
		for _, piece := range strings.FieldsFunc(secret, func(r rune) bool { return strings.ContainsRune("/?#@:%&=,;[] ", r) }) {
			if len(piece) > 4 && strings.Contains(said, piece) {
				t.Fatalf("%q is in %q", piece, said)
			}
		}
	})
}

func FuzzParseURL(f *testing.F) {
	for _, s := range []string{
		"redis://u:p@h:1/2", "rediss://h?ca=a", "unix:///s?db=1", "unix:////@:@?db=1", "redis-sentinel://[::1]:1,h/m?tls=1",
		"redis-cluster://a,b", "embedded:", "embedded:///%25/..", "redis://%zz@", "redis://[", "redis://h/0?db=%00", "://", "embedded:///\x00",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parseURL(s)
		if err != nil {
			if !errors.Is(err, ErrURL) {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		again, err := parseURL(got.describe())
		if err != nil {
			t.Fatalf("%q: got description %q, which is refused: %v", s, got.describe(), err)
		}
		if again.user+again.pass+again.sentinelUser+again.sentinelPass != "" {
			t.Fatalf("%q: got a description with secrets: %q", s, got.describe())
		}
		if again.describe() != got.describe() {
			t.Fatalf("%q: got description %q, then %q", s, got.describe(), again.describe())
		}
	})
}
