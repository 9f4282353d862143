package main

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// These are planted wherever a credential may be configured.
const (
	plantedKey   = "sk-live-9f8e7d6c5b4a3f2e1d"
	plantedPass  = `pa/ss+word & 12`
	plantedProxy = "px-9f8e7d6c5b4a"
	plantedRedis = "rd-9f8e7d6c5b4a"
	plantedAdmin = "ad-9f8e7d6c5b4a"
	plantedToken = "at-9f8e7d6c5b4a"
)

// echoAll is an API, and a proxy to it, that sends back everything that it receives, after its
// answers too, where net/http logs it.
func echoAll(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for r := bufio.NewReader(conn); ; {
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					body, _ := io.ReadAll(req.Body)
					said := fmt.Sprintf("%s %v %s %s", req.URL.RawQuery, req.URL.Query(), req.Header, body)
					for _, value := range req.Header {
						words := strings.Fields(value[0])
						plain, _ := base64.StdEncoding.DecodeString(words[len(words)-1])
						said += fmt.Sprintf(" %q", plain)
					}
					answer := fmt.Sprintf(`{"status":false,"error_code":67200005,"error_msg":%q}`, said)
					if strings.HasSuffix(req.URL.Path, "/token") {
						answer = `{"access_token":"` + plantedToken + `"}`
					}
					fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nX-Correlation-Id: %s\r\nContent-Length: %d\r\n\r\n%s", url.QueryEscape(said), len(answer), answer)
					fmt.Fprintf(conn, "unexpected %s", said)
				}
			}()
		}
	}()
	return l.Addr().String()
}

func TestNoCredentialLeavesTheProgram(t *testing.T) {
	t.Parallel()
	server := redistest.Redis(t)
	if err := server.Client.Do(t.Context(), "ACL", "SETUSER", "callq", "on", ">"+plantedRedis, "~*", "&*", "+@all").Err(); err != nil {
		t.Fatal(err)
	}
	h := newHome(t, filepath.Dir(program(t)))
	addr := echoAll(t)
	h.write("marked", "\ufeff"+plantedKey+" \r\n")
	h.write("callq.yaml", `redis: "unix://callq:${env:REDIS_PASSWORD}@`+server.Socket+`?db=0"
admin: {tokens: [{name: ops, role: operator, token: "${env:ADMIN_TOKEN}"}]}
upstreams:
  bearer: {base_url: "http://api.invalid", policy: patsnap, auth: {type: bearer, token: "${env:KEY}"}}
  prefixed: {base_url: "http://api.invalid", policy: patsnap, auth: {type: bearer, token: "Bearer ${file:marked}"}}
  header: {base_url: "http://api.invalid", policy: patsnap, auth: {type: header, name: X-Key, value: "Token ${file:marked}"}}
  query: {base_url: "http://api.invalid", policy: patsnap, auth: {type: query, name: apikey, value: "${env:PASS}"}}
  basic: {base_url: "http://api.invalid", policy: patsnap, auth: {type: basic, username: alice, password: "${env:PASS}"}}
  basic2: {base_url: "http://api.invalid", policy: patsnap, auth: {type: basic, username: "${env:KEY}", password: x}}
  oauth2: {base_url: "http://api.invalid", policy: patsnap, auth: {type: oauth2, token_url: "http://api.invalid/token", client_id: me, client_secret: "${env:KEY}", style: body}}
  nobody: {base_url: "http://127.0.0.1:1", policy: ./once.yaml, auth: {type: bearer, token: "${env:KEY}"}}
`)
	h.write("once.yaml", `version: 1
name: once
extends: patsnap
rules: [{id: all, match: {transport: [dial]}, class: config, job: dead_letter, message: "No.", advice: "No."}]
`)
	h.env = append(h.env, "KEY="+plantedKey+" ", "PASS="+plantedPass, "ADMIN_TOKEN="+plantedAdmin, "REDIS_PASSWORD="+plantedRedis,
		"HTTP_PROXY=http://proxyuser:"+plantedProxy+"@"+addr)
	var calls strings.Builder
	names := []string{"bearer", "prefixed", "header", "query", "basic", "basic2", "oauth2", "nobody"}
	for _, name := range names {
		for i := range 2 {
			fmt.Fprintf(&calls, "{\"key\":\"%s-%d\",\"upstream\":%q,\"path\":\"/%d\"}\n", name, i, name, i)
		}
	}
	h.write("calls.jsonl", calls.String())

	out := map[string]string{}
	keep := func(what string, texts ...string) { out[what] += strings.Join(texts, "\n") }
	said, signal, end := h.start("work", "--listen", "127.0.0.1:0")
	var admin string
	await(t, "the admin address", func() bool {
		m := regexp.MustCompile(`admin=(\S+)`).FindStringSubmatch(said.String())
		if m != nil {
			admin = strings.Trim(m[1], `"`)
		}
		return m != nil
	})
	stdout, stderr := h.callq(exitFailedCalls, "send", "calls.jsonl", "--batch", "b", "--wait", "--json")
	keep("send", stdout, stderr)
	if strings.Count(stdout, `"dead":16`) == 0 {
		t.Errorf("the calls did not end as they should: %s", stdout)
	}
	for _, path := range []string{"", "asynqmon/api/queues", "asynqmon/api/queues/bearer/archived_tasks", "asynqmon/api/queues/basic/archived_tasks", "asynqmon/api/redis_info"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, admin+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+plantedAdmin)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s %v", path, resp.Status, err)
		}
		keep("the admin address: /"+path, string(body))
	}
	signal(syscall.SIGTERM)
	end()
	keep("work", said.String())
	export, _ := h.callq(exitOK, "batch", "export", "b")
	keep("batch export", export)
	if strings.Count(export, "[redacted]") < len(names) {
		t.Errorf("the API sent nothing back, so the test checks nothing: %s", export)
	}
	for _, args := range [][]string{{"dead", "list"}, {"dead", "groups"}, {"dead", "list", "--json"}, {"dead", "groups", "--json"}, {"circuit", "list"}, {"circuit", "list", "--json"}, {"audit"}, {"batch", "status", "b"}, {"batch", "report", "b", "--json"}, {"batch", "report", "b", "-o", "-"}, {"policy", "show", "once.yaml"}} {
		stdout, stderr := h.callq(exitOK, args...)
		keep(strings.Join(args, " "), stdout, stderr)
	}
	for id := range strings.SplitSeq(export, "\n") {
		if m := regexp.MustCompile(`"id":"([^"]+)"`).FindStringSubmatch(id); m != nil {
			stdout, stderr := h.callq(exitOK, "dead", "show", m[1])
			keep("dead show", stdout, stderr)
		}
	}
	cmd, doctor, doctorErr := h.command("doctor")
	_ = cmd.Run() // whatever it finds
	keep("doctor", doctor.String(), doctorErr.String())
	cmd, refused, refusedErr := h.command("doctor", "--redis", "redis://callq:"+plantedRedis+"@127.0.0.1:1")
	_ = cmd.Run()
	keep("a Redis that is not there", refused.String(), refusedErr.String())

	// The same in one process. What came before counts as errors in a row, and a
	// third one would hold the fourth call back.
	for _, name := range names {
		h.callq(exitOK, "circuit", "close", name, "--reason", "the streak begins anew")
	}
	h.write("again.jsonl", calls.String())
	stdout, stderr = h.callq(exitFailedCalls, "run", "again.jsonl", "-o", "again.out")
	keep("run", stdout, stderr, h.read("again.out"))
	for it := server.Client.Scan(t.Context(), 0, "*", 1000).Iterator(); it.Next(t.Context()); {
		key := it.Val()
		keep("Redis", key, fmt.Sprint(server.Client.Get(t.Context(), key).Val(), server.Client.HGetAll(t.Context(), key).Val(), server.Client.LRange(t.Context(), key, 0, -1).Val()))
	}
	for what, text := range out {
		for _, planted := range []string{plantedKey, plantedPass, plantedProxy, plantedRedis, plantedAdmin, plantedToken} {
			for _, form := range []string{
				planted, url.QueryEscape(planted), url.PathEscape(planted), strings.ReplaceAll(planted, "&", `\u0026`),
				base64.StdEncoding.EncodeToString([]byte("alice:" + planted)), base64.StdEncoding.EncodeToString([]byte("proxyuser:" + planted)),
			} {
				if i := strings.Index(text, form); i >= 0 {
					t.Errorf("%s shows %s: …%.200s", what, form, text[max(0, i-120):])
				}
			}
		}
	}
}
