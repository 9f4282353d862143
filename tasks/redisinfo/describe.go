package redisinfo

import (
	"strings"

	"github.com/redis/go-redis/v9"
)

// Describe names the server of a client without user or password, fit for logs, as
// far as the client tells.
func Describe(rdb redis.UniversalClient) string {
	switch c := rdb.(type) {
	case *redis.Client:
		switch o := c.Options(); {
		case o.Network == "unix":
			return "unix://" + o.Addr
		case o.Addr == "FailoverClient": // go-redis's word
			return "the address that Sentinel names"
		default:
			return o.Addr
		}
	case *redis.ClusterClient:
		return strings.Join(c.Options().Addrs, ",")
	}
	return ""
}
