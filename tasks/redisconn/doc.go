// Package redisconn connects to Redis: it makes a go-redis client from the URL in the
// configuration, and starts the embedded Redis if no other is configured. Only commands
// and test harnesses import it; all other packages get a client, so that a program that
// embeds callq links no Redis. Its API may change between versions.
//
// It must not depend on what is stored there.
//
//	conn, err := redisconn.Open(ctx, "embedded:", redisconn.Options{
//		Purpose:    "work",
//		ConfigPath: "callq.yaml",
//		Logger:     logger,
//	})
//	if err != nil {
//		return err // a sentence for people; see [redisinfo.Error]
//	}
//	defer conn.Close()
//	if conn.Volatile {
//		fmt.Fprintln(os.Stderr, conn.Notice)
//	}
//	if err := conn.Client.Set(ctx, "k", "v", 0).Err(); err != nil {
//		return conn.Explain(err)
//	}
//
// # The URLs
//
//	redis://host:port/db                      one server; user:pass@ before the host
//	rediss://host:port/db                     the same over TLS
//	unix:///path/to/socket?db=0               one server on this machine
//	redis-sentinel://h1:p,h2:p/MASTER?db=0    user:pass@ is the master's; sentinel_username
//	                                          and sentinel_password are the Sentinels'
//	redis-cluster://h1:p,h2:p                 a Cluster
//	embedded:                                 a server that callq runs, data by configuration file
//	embedded:///DIR                           the same, data in DIR
//
// TLS for rediss, and for redis-sentinel and redis-cluster with tls=true: ca=FILE,
// cert=FILE with key=FILE, server_name=NAME. At least TLS 1.2.
//
// # The embedded Redis
//
// It is a valkey-server or redis-server from PATH, and a child of the process that
// started it. Other processes connect to it through its unix socket. The states of one
// data folder:
//
//	           a dial finds no one,            the server answers
//	           gets the lock                   PING
//	[stopped] -----------------> [starting] --------------------> [serving]
//	    ^                            |                               |
//	    +----------------------------+-------------------------------+
//	      the server ends: its owner closes or dies, or it crashes
//
// The server process itself holds the lock file open, so that the lock is free exactly
// when no server uses the folder, however the last one ended. A process that dials and
// finds no server tries the lock; the one that gets it starts the server and owns it,
// and the others wait until it answers. So when an owner exits while others work, the
// first of them that needs a connection starts the server again, and go-redis repeats
// the commands that were not answered.
//
// If neither server is installed, miniredis runs in the process: then [Conn.Volatile]
// is true and no data outlives the process; [Options.RequireShared] refuses this.
package redisconn
