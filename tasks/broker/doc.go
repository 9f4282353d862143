// Package broker is the seam between callq and asynq. It replaces asynq's scripts
// by callq's own as asynq calls them, with the same keys, the same reply and no
// further round trip, and it writes and reads asynq's task messages. Its API may
// change between versions.
//
// It must not know what callq stores: calls, outcomes and circuits belong to the
// packages that keep them.
//
//	wrapped := broker.Wrap(client, broker.Hooks{Dequeue: dequeue})
//	server := asynq.NewServerFromRedisClient(wrapped, config)
//
// asynq's scripts are known by their digests, which are pinned to one version of
// asynq: [CheckScripts] fails with the versions named where another one is linked.
package broker
