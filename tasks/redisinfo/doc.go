// Package redisinfo says in plain words what is wrong with a Redis, and what kind of
// server it is: version, memory, role, clock. Its API may change between versions.
//
//	if err := client.Ping(ctx).Err(); err != nil {
//		return redisinfo.Explain(err, redisinfo.Describe(client)) // "Redis at …: nothing listens there; check …"
//	}
//
// It must not know how the client was made, nor what is stored there.
package redisinfo
