// Package redisconn connects to Redis: it turns the URL of the configuration into a
// go-redis client, and starts the embedded Redis where no other is configured. Only
// commands and test harnesses import it; everything else is given a client, so that
// who embeds callq links no Redis. Its API may change between versions.
//
// It must not know what is stored there.
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
//	embedded:                                 a server of our own, data by configuration file
//	embedded:///DIR                           the same, data in DIR
//
// TLS for rediss, and for redis-sentinel and redis-cluster with tls=true:
// ca=FILE, cert=FILE with key=FILE, server_name=NAME. TLS 1.2 is the least.
//
// # The embedded Redis
//
// It is a valkey-server or redis-server from PATH, and a child of the process that
// started it. Other processes join it through its unix socket. The picture of one
// data folder:
//
//	           a dial finds nobody,            the server answers
//	           gets the lock                   PING
//	[stopped] -----------------> [starting] --------------------> [serving]
//	    ^                            |                               |
//	    +----------------------------+-------------------------------+
//	      the server ends: its owner closes or dies, or it crashes
//
// The lock file is held open by the server process itself, so that the lock is
// free exactly when no server has the folder, however it ended. Whoever dials and
// finds nobody tries the lock; who gets it starts the server and owns it, the
// others wait for its answer. So when an owner leaves while others work, the first
// of them that asks for a connection starts the server again, and go-redis sends
// what was not answered once more.
//
// Where neither server is installed, miniredis runs in the process: [Conn.Volatile]
// says so, nothing outlives it, and [Options.RequireShared] refuses it.
package redisconn
