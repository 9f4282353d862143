package redisinfo

import (
	"strings"

	"github.com/redis/go-redis/v9"
)

// Describe returns the server of a client without user or password, suitable for logs,
// as far as the client reports it.
func Describe(rdb redis.UniversalClient) string {
	switch c := rdb.(type) {
	case *redis.Client:
		switch o := c.Options(); {
		case o.Network == "unix":
			return "unix://" + o.Addr
		case o.Addr == "FailoverClient": // go-redis's name for it
			return "the address that Sentinel names"
		default:
			return o.Addr
		}
	case *redis.ClusterClient:
		return strings.Join(c.Options().Addrs, ",")
	}
	return ""
}
