// Package redislua has what all packages that keep state in Redis need: it assembles
// and loads Lua scripts, names their keys, and parses their replies. It does not depend
// on any script. This package is an internal part of callq and may change.
//
// A package embeds its scripts from its folder lua. A file holds one script, or
// functions that several scripts share; a script is assembled from the files that it
// needs, in order:
//
//	//go:embed lua/*.lua
//	var files embed.FS
//
//	var scriptEnd = redislua.Script(redislua.Read(files, "number", "end"))
//
// The script sends EVALSHA, and EVAL if Redis does not have the script yet.
//
// Rules for scripts:
//
//   - A script declares its keys. Keys whose names depend on what the script reads
//     begin with a prefix that is passed to it, in the same slot of a Cluster.
//   - A script that records an outcome succeeds when Redis is out of memory: Redis
//     refuses only a first write that needs memory, so the first write is one that
//     needs none, such as HDEL or ZREM.
//   - A script may run twice, as after a lost reply.
package redislua
