package main

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/tasks"
)

// FuzzParameters has anything on the command line of callq send METHOD PATH.
func FuzzParameters(f *testing.F) {
	for _, s := range [][3]string{
		{"a=1", "a=2", "b="}, {"=x", "a", ""}, {"a==b", "a=\xff", "\x00=1"}, {"\u202e=x", "a=\r\nHost: x", "a=b"}, {"apikey=mine", "APIKEY=mine", "a=%00"},
	} {
		f.Add("GET", "/a", s[0], s[1], s[2])
	}
	f.Add("JOB", "//evil", "a=1", "b=2", "c=3")
	rules := tasks.Rules{Upstreams: []tasks.UpstreamRules{{Name: "sim", ReservedQuery: []string{"apikey"}}}}
	f.Fuzz(func(t *testing.T, method, path, one, two, three string) {
		c, err := (&sending{app: &app{}}).callOf(method, path, []string{one, two, three})
		if err != nil {
			return
		}
		c.Key = "k"
		if c, err = rules.Check(c); err != nil {
			return
		}
		query, err := c.URLQuery()
		if err != nil || strings.ContainsAny(query, " \r\n\x00#") {
			t.Errorf("query %q, %v", query, err)
		}
		target, err := c.URLPath()
		if err != nil || !strings.HasPrefix(target, "/") || strings.HasPrefix(target, "//") || strings.ContainsAny(target, " \r\n\x00?#\\") {
			t.Errorf("path %q, %v", target, err)
		}
		if _, there := c.Query["apikey"]; there {
			t.Error("the credential's parameter was let through")
		}
	})
}

// FuzzPrintable has an API or a forger of records write to the terminal.
func FuzzPrintable(f *testing.F) {
	for _, s := range []string{"plain", "\x1b[2J\x1b]0;x\x07", "\u009b31m", "\u202eabc\u2066", "a\tb\r\nc", "\xff\xc3\x28", "\u200b\ufeff\u2028", "e\u0301", "\U000e0001"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := console.Printable(text)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q is printed as %q", text, got)
		}
		var table strings.Builder
		rows := console.NewTable(&table, "A", "B")
		rows.Row(text, text)
		if err := rows.Flush(); err != nil || strings.Count(table.String(), "\n") != 2 {
			t.Errorf("%q makes the table %q, %v", text, table.String(), err)
		}
	})
}

// FuzzFlags has anything in the flags that are read by hand.
func FuzzFlags(f *testing.F) {
	for _, s := range []string{"50/s", "1/h", "0/s", "-1/s", "1e9/s", "99999999999999999999/s", "/s", "50", "class=quota", "=", "code==1", "\xff", "dead,dropped"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if err := (&selection{filters: []string{text}}).parse(); err != nil && statusOf(err) != exitUsage {
			t.Errorf("filter %q: %v", text, err)
		}
		if _, err := redoStates([]string{text}); err != nil && statusOf(err) != exitUsage {
			t.Errorf("redo %q: %v", text, err)
		}
	})
}
