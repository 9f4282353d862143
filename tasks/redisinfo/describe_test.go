package redisinfo

import (
	"testing"

	"github.com/redis/go-redis/v9"
)

func TestAClientIsDescribedWithoutItsPassword(t *testing.T) {
	for want, client := range map[string]redis.UniversalClient{
		"db.example:6379":                 redis.NewClient(&redis.Options{Addr: "db.example:6379", Username: "app", Password: "hunter22"}),
		"unix:///run/redis.sock":          redis.NewClient(&redis.Options{Network: "unix", Addr: "/run/redis.sock"}),
		"the address that Sentinel names": redis.NewFailoverClient(&redis.FailoverOptions{MasterName: "m", SentinelAddrs: []string{"127.0.0.1:1"}}),
		"a:1,b:2":                         redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"a:1", "b:2"}, Password: "hunter22"}),
		"":                                struct{ redis.UniversalClient }{},
	} {
		if got := Describe(client); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if want != "" {
			_ = client.Close()
		}
	}
}
