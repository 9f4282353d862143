package redisinfo

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/redis/go-redis/v9"
)

// Kind is the kind of an error of Redis. Logs and metrics use the same word.
type Kind string

// The kinds of errors.
const (
	KindUnreachable Kind = "unreachable" // no connection could be made
	KindLost        Kind = "lost"        // a connection broke
	KindTimeout     Kind = "timeout"     // no answer in time
	KindTLS         Kind = "tls"         // certificates, or only one side speaks TLS
	KindNotRedis    Kind = "not_redis"   // the server that answers is not a Redis
	KindAuth        Kind = "auth"        // user name or password
	KindPermission  Kind = "permission"  // the user lacks a permission
	KindMemory      Kind = "memory"      // Redis is full
	KindDisk        Kind = "disk"        // Redis cannot write its file
	KindReplica     Kind = "replica"     // this is not a master, or the master is gone
	KindLoading     Kind = "loading"     // Redis is starting
	KindBusy        Kind = "busy"        // too many clients, a long script, a full pool
	KindCluster     Kind = "cluster"     // a Cluster is down, or the URL is for a Cluster and the server is not one
	KindTooOld      Kind = "too_old"     // a version that lacks what callq needs
	KindDatabase    Kind = "database"    // no database with that number
	KindEmbedded    Kind = "embedded"    // the embedded server cannot run
	KindUnknown     Kind = "unknown"     // anything else; the text is Redis's own
	KindClosed      Kind = "closed"      // this process closed the connection
)

// Error is an error of Redis, as a sentence that says what to do.
type Error struct {
	Kind    Kind
	Where   string // the server, without secrets; may be empty
	Problem string // what is wrong
	Advice  string // what to do; may be empty
	Err     error  // the cause, for errors.Is; its text is not for people
}

// Error returns the sentence.
func (e *Error) Error() string {
	s := "Redis"
	if e.Where != "" {
		s += " at " + e.Where
	}
	s += ": " + e.Problem
	if e.Advice != "" {
		s += "; " + e.Advice
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Explain turns an error of go-redis or of the network into an [*Error]. describe is
// the server without secrets, as from [Describe]. Other errors are returned unchanged:
// nil, redis.Nil, a cancelled context, and an [*Error].
//
// Redis's own text is kept only if it is not known, and always without the arguments
// that it quotes: an old server repeats the password of an AUTH that it does not
// understand.
func Explain(err error, describe string) error {
	var done *Error
	sentinels := sentinelsFailed(err)
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.As(err, &done):
		return err
	case errors.Is(err, redis.Nil) && !sentinels:
		return err
	}
	e := explainReply(err)
	if e == nil {
		e = explainNet(err)
	}
	if e == nil {
		e = explainNotRedis(err)
	}
	if sentinels && (e == nil || e.Kind == KindUnreachable || e.Kind == KindNotRedis) {
		e = &Error{Kind: KindUnreachable, Problem: "no Sentinel returned the address of the master", Advice: "check the Sentinels' hosts and ports and the master's name in the URL"}
	}
	if e == nil {
		e = &Error{Kind: KindUnknown, Problem: SafeText(err)}
	}
	e.Where, e.Err = describe, err
	if strings.Contains(err.Error(), quotedArgs) {
		e.Err = errors.New(SafeText(err))
	}
	return e
}

// sentinelsFailed recognizes go-redis's text for this error (sentinel.go, MasterAddr),
// which has no type of its own and wraps redis.Nil for an unknown master.
func sentinelsFailed(err error) bool {
	return err != nil && strings.Contains(err.Error(), "all sentinels specified in configuration are unreachable")
}

// EncodeHint says how to write special characters in the user name and password of a
// URL.
const EncodeHint = "in a user name or password write % as %25, / as %2F, ? as %3F, # as %23 and @ as %40"

const quotedArgs = ", with args beginning with"

// SafeText returns the text of an error on one line, at most 300 bytes long and
// without the arguments that a server quotes: they may hold a password.
func SafeText(err error) string {
	s, _, _ := strings.Cut(err.Error(), quotedArgs)
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	return s
}

// replies are Redis's known error replies, by their beginning: the code and, if the
// code is only ERR, the words that all versions use.
var replies = []struct {
	prefix string
	kind   Kind
	what   string
	todo   string
}{
	{"NOAUTH", KindAuth, "it wants a password", "put user:password@ before the host of the URL (:password@ without a user)"},
	{"WRONGPASS", KindAuth, "it refused the user name or password", "correct them in the URL; " + EncodeHint},
	{"ERR invalid password", KindAuth, "it refused the password", "correct it in the URL; " + EncodeHint},
	{"ERR AUTH <password> called without", KindAuth, "the URL has a password but the server has none set", "take the password out of the URL, or set one on the server"},
	{"ERR Client sent AUTH, but no password", KindAuth, "the URL has a password but the server has none set", "take the password out of the URL, or set one on the server"},
	{"DENIED", KindAuth, "it is in protected mode and takes connections from its own machine only", "set a password on the server and put it into the URL"},
	{"NOPERM", KindPermission, notPermitted, needGrant},
	// A command that a script was refused, as Redis 7.0 reports it, and as later
	// versions do.
	{"ERR The user executing the script", KindPermission, notPermitted, needGrant},
	{"ERR ACL failure in script", KindPermission, notPermitted, needGrant},
	{"OOM ", KindMemory, "its memory is full", "raise maxmemory on the server, or export batches that ended and set ledger.bodies to drop"},
	{"MISCONF", KindDisk, "it cannot write its data to disk and refuses changes", "make room on the server's disk and see its log"},
	{"READONLY", KindReplica, "this server is a replica and takes no changes", "name the master in the URL, or use redis-sentinel:// to follow it"},
	{"MASTERDOWN", KindReplica, "this server is a replica that lost its master", "name the master in the URL, or use redis-sentinel:// to follow it"},
	{"NOREPLICAS", KindReplica, "too few replicas follow the master for it to take changes", "bring the replicas back, or lower min-replicas-to-write on the server"},
	{"LOADING", KindLoading, "it is still loading its data", "try again in a moment"},
	{"BUSY ", KindBusy, "a long-running script keeps it busy", "wait for the script, or end it with SCRIPT KILL"},
	{"ERR max number of clients", KindBusy, "it has as many clients as it allows", "raise maxclients on the server, or run fewer workers"},
	{"MOVED", KindCluster, "this server is a node of a Cluster", "use redis-cluster://host:port"},
	{"ASK ", KindCluster, "this server is a node of a Cluster", "use redis-cluster://host:port"},
	{"CLUSTERDOWN", KindCluster, "the Cluster is down: some of its slots have no master", "bring its nodes back; CLUSTER INFO shows what is missing"},
	{"ERR This instance has cluster support disabled", KindCluster, "this server is not a node of a Cluster", "use redis://host:port/db"},
	{"ERR DB index", KindDatabase, "it has no database with that number", "name another in the URL (most servers have 0 to 15)"},
	{"ERR invalid DB index", KindDatabase, "it has no database with that number", "name another in the URL (most servers have 0 to 15)"},
	{"ERR SELECT is not allowed in cluster mode", KindCluster, "this server is a node of a Cluster, which has database 0 only", "use redis-cluster://host:port"},
	{"ERR unknown command", KindTooOld, unknownCommand, needVersion},
	{"ERR unknown subcommand", KindTooOld, unknownCommand, needVersion},
	{"ERR Unknown Redis command called from script", KindTooOld, unknownCommand, needVersion},
	{"ERR Error compiling script", KindTooOld, "it cannot read callq's scripts", needVersion},
	{"NOPROTO", KindTooOld, "it does not speak the protocol that callq needs", needVersion},
}

const unknownCommand = "it does not have a command that callq needs: it is too old, or the command is disabled there"

const (
	notPermitted = "the user may not run a command or use a key that callq needs"
	needGrant    = "grant what the line ACL SETUSER in callq's deploy/RUNBOOK.md names; ACL LOG on the server says what was refused"
)

const needVersion = "use Redis 7.0 or newer, or Valkey 7.2 or newer"

func explainReply(err error) *Error {
	var reply redis.Error
	if !errors.As(err, &reply) {
		return nil
	}
	for _, r := range replies {
		if strings.HasPrefix(reply.Error(), r.prefix) {
			return &Error{Kind: r.kind, Problem: r.what, Advice: r.todo}
		}
	}
	return nil
}

func explainNet(err error) *Error {
	var (
		dns       *net.DNSError
		op        *net.OpError
		netErr    net.Error
		verify    *tls.CertificateVerificationError
		record    tls.RecordHeaderError
		unknownCA x509.UnknownAuthorityError
		hostname  x509.HostnameError
	)
	const check = "check that it runs and that host and port in the URL are right"
	switch {
	case errors.Is(err, redis.ErrClosed), errors.Is(err, net.ErrClosed):
		return &Error{Kind: KindClosed, Problem: "the connection was closed by callq itself"}
	case errors.As(err, &hostname):
		return &Error{Kind: KindTLS, Problem: "its certificate is for another name", Advice: "give the name in the certificate as server_name=… in the URL"}
	case errors.As(err, &unknownCA), errors.As(err, &verify):
		return &Error{Kind: KindTLS, Problem: "its certificate cannot be verified", Advice: "give the CA's file as ca=FILE in the URL, and check that the certificate has not expired"}
	case errors.As(err, &record):
		return &Error{Kind: KindTLS, Problem: "it does not speak TLS on this port", Advice: "use redis:// (for Sentinel and Cluster: leave tls=true out), or the server's TLS port"}
	case errors.As(err, &op) && op.Op == "remote error": // crypto/tls has no type for an alert of the other side
		return &Error{Kind: KindTLS, Problem: "it refused the TLS handshake", Advice: "if it asks for a client certificate, give cert=FILE and key=FILE in the URL"}
	case errors.As(err, &dns) && dns.IsNotFound:
		return &Error{Kind: KindUnreachable, Problem: "there is no host with that name", Advice: "correct the host in the URL"}
	case errors.As(err, &dns):
		return &Error{Kind: KindUnreachable, Problem: "its host name cannot be resolved", Advice: "check this machine's DNS"}
	case errors.Is(err, syscall.ECONNREFUSED):
		return &Error{Kind: KindUnreachable, Problem: "nothing listens there", Advice: check}
	case errors.Is(err, syscall.ENOENT):
		return &Error{Kind: KindUnreachable, Problem: "there is no such socket", Advice: "check that it runs and that the path in the URL is right"}
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return &Error{Kind: KindUnreachable, Problem: "this user may not open the connection", Advice: "check the permissions of the socket, or the firewall"}
	case errors.Is(err, redis.ErrPoolTimeout), errors.Is(err, redis.ErrPoolExhausted):
		return &Error{Kind: KindBusy, Problem: "all connections stayed in use for too long", Advice: "the server answers slowly: see its load, or lower worker.concurrency"}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return &Error{Kind: KindTimeout, Problem: "no answer came in time", Advice: "check that it runs, that host, port and TLS (redis:// or rediss://) in the URL are right, and that nothing blocks or slows the way"}
	case errors.As(err, &op) && op.Op == "dial":
		return &Error{Kind: KindUnreachable, Problem: "it cannot be reached", Advice: check}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return &Error{Kind: KindLost, Problem: "the connection broke", Advice: "check whether it was restarted or requires TLS (rediss://)"}
	}
	return nil
}

// unreadable are the beginnings of go-redis's errors about replies that it cannot parse
// (internal/proto/reader.go); these have no type. The reply follows, quoted.
var unreadable = []string{"redis: can't parse ", "redis: can't read raw reply", "redis: invalid reply", "redis: invalid line"}

const (
	respTypes = "+-:$*_,#!=(%~>|" // the first byte of a line (RESP3)
	tlsAlert  = "\x15\x03"        // type and major version of a record (RFC 8446, 5.1)
)

// explainNotRedis recognizes by its answer a server that does not speak Redis's
// protocol.
func explainNotRedis(err error) *Error {
	var reply redis.Error
	if errors.As(err, &reply) { // that is a Redis; its error may quote anything
		return nil
	}
	text := err.Error()
	for _, beginning := range unreadable {
		_, what, found := strings.Cut(text, beginning)
		if !found {
			continue
		}
		read := ""
		if at := strings.IndexByte(what, '"'); at >= 0 {
			if quoted, err := strconv.QuotedPrefix(what[at:]); err == nil {
				read, _ = strconv.Unquote(quoted) // it was quoted above
			}
		}
		switch {
		case strings.HasPrefix(read, tlsAlert):
			return &Error{Kind: KindTLS, Problem: "it speaks TLS on this port", Advice: "use rediss:// (for Sentinel and Cluster: tls=true), or the server's port without TLS"}
		case read != "" && strings.Contains(respTypes, read[:1]):
			return &Error{Kind: KindNotRedis, Problem: "its answer is not one of a Redis", Advice: "check that host and port in the URL are those of a Redis, and that no proxy changes its answers"}
		}
		return &Error{Kind: KindNotRedis, Problem: "the server that answers there is not a Redis", Advice: "check host and port in the URL"}
	}
	return nil
}
