// Package redisinfo explains errors of a Redis in plain words, and reads what kind of
// server it is: version, memory, role, clock. Its API may change between versions.
//
//	if err := client.Ping(ctx).Err(); err != nil {
//		return redisinfo.Explain(err, redisinfo.Describe(client)) // "Redis at …: nothing listens there; check …"
//	}
//
// It must not depend on how the client was made, nor on what is stored there.
package redisinfo
