package redisinfo

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"
)

// reply is an error as Redis sends it.
type reply string

func (r reply) Error() string { return string(r) }
func (reply) RedisError()     {}

func TestEveryErrorSaysWhatToDo(t *testing.T) {
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	tests := []struct {
		err  error
		kind Kind
		says string
	}{
		{dial(syscall.ECONNREFUSED), KindUnreachable, "check that it runs"},
		{dial(syscall.ENOENT), KindUnreachable, "path in the URL"},
		{dial(syscall.EACCES), KindUnreachable, "permissions"},
		{dial(syscall.EHOSTUNREACH), KindUnreachable, "host and port"},
		{dial(&net.DNSError{Name: "h", IsNotFound: true}), KindUnreachable, "no host with that name"},
		{dial(&net.DNSError{Name: "h", IsTemporary: true}), KindUnreachable, "DNS"},
		{context.DeadlineExceeded, KindTimeout, "in time"},
		{&net.OpError{Op: "read", Err: &timeout{}}, KindTimeout, "in time"},
		{redis.ErrPoolTimeout, KindBusy, "worker.concurrency"},
		{redis.ErrClosed, KindClosed, "by callq itself"},
		{io.EOF, KindLost, "rediss://"},
		{fmt.Errorf("write: %w", syscall.EPIPE), KindLost, "restarted"},
		{x509.HostnameError{Certificate: &x509.Certificate{}, Host: "h"}, KindTLS, "server_name="},
		{&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, KindTLS, "ca=FILE"},
		{tls.RecordHeaderError{Msg: "x"}, KindTLS, "redis://"},
		{&net.OpError{Op: "remote error", Err: tls.AlertError(116)}, KindTLS, "cert=FILE"},
		{reply("NOAUTH Authentication required."), KindAuth, "user:password@"},
		{reply("WRONGPASS invalid username-password pair or user is disabled."), KindAuth, "correct them"},
		{reply("ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?"), KindAuth, "take the password out"},
		{reply("DENIED Redis is running in protected mode because"), KindAuth, "set a password"},
		{reply("NOPERM this user has no permissions to run the 'evalsha' command"), KindPermission, "ACL SETUSER"},
		{reply("ERR The user executing the script can't run this command or subcommand script: fc3c, on @user_script:1."), KindPermission, "ACL LOG"},
		{reply("ERR ACL failure in script: User callq has no permissions to run the 'get' command"), KindPermission, "ACL SETUSER"},
		{reply("OOM command not allowed when used memory > 'maxmemory'."), KindMemory, "maxmemory"},
		{reply("MISCONF Redis is configured to save RDB snapshots"), KindDisk, "disk"},
		{reply("READONLY You can't write against a read only replica."), KindReplica, "redis-sentinel://"},
		{reply("MASTERDOWN Link with MASTER is down"), KindReplica, "redis-sentinel://"},
		{reply("NOREPLICAS Not enough good replicas to write."), KindReplica, "replicas"},
		{reply("LOADING Redis is loading the dataset in memory"), KindLoading, "in a moment"},
		{reply("BUSY Redis is busy running a script."), KindBusy, "SCRIPT KILL"},
		{reply("ERR max number of clients reached"), KindBusy, "maxclients"},
		{reply("MOVED 3999 127.0.0.1:6381"), KindCluster, "redis-cluster://"},
		{reply("CLUSTERDOWN Hash slot not served"), KindCluster, "CLUSTER INFO"},
		{reply("ERR This instance has cluster support disabled"), KindCluster, "redis://"},
		{reply("ERR DB index is out of range"), KindDatabase, "name another"},
		{reply("ERR unknown command 'x'"), KindTooOld, "Valkey 7.2"},
		{reply("ERR Error compiling script (new function): user_script:1: unexpected symbol near '#'"), KindTooOld, "Redis 7.0"},
		{errors.New("redis: all sentinels specified in configuration are unreachable: redis: nil"), KindUnreachable, "master's name"},
		{fmt.Errorf("redis: all sentinels specified in configuration are unreachable: %w", errors.Join(redis.Nil)), KindUnreachable, "master's name"},
		{errors.New(`redis: can't parse map reply: "HTTP/1.1 400 Bad Request"`), KindNotRedis, "not a Redis; check host and port"},
		{errors.New(`redis: can't parse "220 mail ESMTP"`), KindNotRedis, "not a Redis; check host and port"},
		{errors.New(`redis: can't parse reply="ERROR" reading string`), KindNotRedis, "not a Redis; check host and port"},
		{errors.New(`redis: invalid reply: "J\x00\x00\x00\n"`), KindNotRedis, "not a Redis; check host and port"},
		{errors.New("redis: invalid line"), KindNotRedis, "not a Redis; check host and port"},
		{errors.New(`redis: can't parse map reply: "+OK"`), KindNotRedis, "proxy"},
		{errors.New(`redis: invalid reply: "\x15\x03\x01\x00\x02\x02\n"`), KindTLS, "rediss://"},
		{reply(`ERR it said redis: can't parse "x"`), KindUnknown, "it said"},
		{errors.New(`redis: all sentinels specified in configuration are unreachable: redis: can't parse map reply: "HTTP/1.1 400"`), KindUnreachable, "Sentinels' hosts and ports"},
		{errors.New("something\r\nnew"), KindUnknown, "something  new"},
	}
	for _, tt := range tests {
		wrapped := fmt.Errorf("record an outcome: %w", tt.err)
		err := Explain(wrapped, "redis://h:1/0")
		var e *Error
		if !errors.As(err, &e) || e.Kind != tt.kind || e.Where != "redis://h:1/0" {
			t.Errorf("%v: got %#v, want %s", tt.err, err, tt.kind)
			continue
		}
		if msg := err.Error(); !strings.Contains(msg, tt.says) || strings.ContainsAny(msg, "\r\n") {
			t.Errorf("%v: got %q, want it to contain %q", tt.err, msg, tt.says)
		}
		if !errors.Is(err, tt.err) {
			t.Errorf("%v: the error does not wrap its cause", tt.err)
		}
		if again := Explain(fmt.Errorf("more: %w", err), "elsewhere"); !strings.Contains(again.Error(), "redis://h:1/0") {
			t.Errorf("%v: explained twice: %v", tt.err, again)
		}
	}
}

type timeout struct{}

func (*timeout) Error() string   { return "i/o timeout" }
func (*timeout) Timeout() bool   { return true }
func (*timeout) Temporary() bool { return true }

func TestErrorsThatAreNotOfRedisAreNotChanged(t *testing.T) {
	for _, err := range []error{nil, redis.Nil, context.Canceled, fmt.Errorf("x: %w", redis.Nil), fmt.Errorf("x: %w", context.Canceled)} {
		if got := Explain(err, "h"); got != err {
			t.Errorf("%v became %v", err, got)
		}
	}
}

func TestAPasswordThatAnOldServerQuotesIsRemoved(t *testing.T) {
	for _, text := range []string{
		"ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `u`, `hunter22`",
		"ERR other, with args beginning with: `hunter22`",
	} {
		err := Explain(fmt.Errorf("failed to authenticate: %w", reply(text)), "h")
		for e := err; e != nil; e = errors.Unwrap(e) {
			if strings.Contains(fmt.Sprintf("%v %+v", e, e), "hunter22") {
				t.Errorf("the password is in %v", e)
			}
		}
	}
}

// FuzzServer explains any error text of a server.
func FuzzServer(f *testing.F) {
	f.Add("# Server\r\nredis_version:7.0.15\r\nmaxmemory:100\r\nmaxmemory_policy:allkeys-lru\r\naof_enabled:1\r\n")
	f.Add("redis_version:99999999999999999999.x\nvalkey_version:\xff\x1b[2J\nmaxmemory:-9223372036854775809")
	f.Add("ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'user' 'secret'")
	f.Add("NOPERM \x1b]0;x\x07")
	f.Fuzz(func(t *testing.T, text string) {
		facts := parseInfo(text)
		_, _ = facts.TooOld(), facts.MayEvict()
		for _, err := range []error{reply(text), facts.TooOldError("here"), fmt.Errorf("x: %w", reply(text))} {
			got := Explain(err, "redis://127.0.0.1:1/0").Error()
			if errors.Is(err, redis.Nil) {
				continue
			}
			if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r == 0x7f }) || len(got) > 1000 {
				t.Errorf("got %q", got)
			}
			if _, quoted, found := strings.Cut(text, quotedArgs); found && len(quoted) > 8 && strings.Contains(got, quoted) {
				t.Errorf("got quoted arguments: %q", got)
			}
		}
	})
}
