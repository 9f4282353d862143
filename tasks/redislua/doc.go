// Package redislua is what the packages that keep state in Redis have in common:
// how a Lua script is put together and loaded, what its keys are called, and how its
// reply is read. It knows no script's meaning. This package is part of callq's inside
// and may change.
//
// A package embeds its scripts from its folder lua. A file holds one script, or
// functions that several scripts share; a script is made of the files that it needs,
// one behind the other:
//
//	//go:embed lua/*.lua
//	var files embed.FS
//
//	var scriptEnd = redislua.Script(redislua.Read(files, "number", "end"))
//
// The script that comes back sends EVALSHA, and EVAL where Redis does not have the
// script yet.
//
// Rules for scripts:
//
//   - A script declares its keys. Keys whose names depend on what the script reads
//     begin with a prefix that it is given, in the same slot of a Cluster.
//   - A script that records an outcome succeeds when Redis is out of memory: Redis
//     refuses only a first write that needs memory, so the first write is one that
//     needs none, such as HDEL or ZREM.
//   - A script may run twice, as after a reply that was lost.
package redislua
