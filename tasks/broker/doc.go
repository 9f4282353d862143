// Package broker is the seam between callq and asynq. When asynq calls one of its
// scripts, broker runs callq's own script instead, with the same keys, the same reply
// and no further round trip. It also writes and reads asynq's task messages. Its API
// may change between versions.
//
// It must not depend on what callq stores: calls, outcomes and circuits belong to other
// packages.
//
//	wrapped := broker.Wrap(client, broker.Hooks{Dequeue: dequeue})
//	server := asynq.NewServerFromRedisClient(wrapped, config)
//
// asynq's scripts are recognized by their digests, which are pinned to one version of
// asynq: [CheckScripts] fails, naming the versions, if another one is linked.
package broker
