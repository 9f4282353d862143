package callsfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"regexp"

	"github.com/seed-2903acc3/callq/tasks"
)

// headSize is how many bytes of a file are examined.
const headSize = 64 << 10

// Head reads the beginning of a file. whole reports that it is the whole file.
func Head(r io.Reader) (head []byte, whole bool, err error) {
	head = make([]byte, headSize+1)
	n, err := io.ReadFull(r, head)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return head[:n], true, nil
	}
	return head[:min(n, headSize)], false, err
}

// Detect recognizes the format of a file by its beginning, if no line of the file can be a call. It returns nil for JSON objects,
// one per line, even if some of the lines are broken, for a file without any text, and for an unknown format. The lines of such a
// file are then refused one by one.
func Detect(head []byte, whole bool) *Finding {
	if found := detectMagic(head); found != nil {
		return found
	}
	if found := detectWide(head); found != nil {
		return found
	}
	text := bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), " \t\r\n")
	if len(text) == 0 {
		return nil
	}
	lines := linesOf(text, whole)
	switch text[0] {
	case '[':
		if found := detectArray(text, lines, whole); found != nil {
			return found
		}
	case '{':
		if found, sure := detectObject(text, lines, whole); sure {
			return found
		}
	}
	if objects := objectsOf(lines); len(objects) > 0 {
		return detectResults(objects)
	}
	switch {
	case bytes.IndexByte(text, 0) >= 0:
		return &Finding{Kind: Binary, what: "a binary file"}
	case text[0] == '{' || text[0] == '[':
		return nil
	}
	for _, detect := range []func([]byte, [][]byte, bool) *Finding{detectMarkup, detectPaths, detectTable, detectYAML} {
		if found := detect(text, lines, whole); found != nil {
			return found
		}
	}
	return nil
}

// linesOf returns the lines that are complete and not blank.
func linesOf(text []byte, whole bool) (lines [][]byte) {
	for len(text) > 0 {
		line, rest, ended := bytes.Cut(text, []byte("\n"))
		if !ended && !whole {
			break
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			lines = append(lines, line)
		}
		text = rest
	}
	return lines
}

// objectsOf returns the lines that are JSON objects.
func objectsOf(lines [][]byte) (objects [][]byte) {
	for _, line := range lines {
		if line[0] == '{' && json.Valid(line) {
			objects = append(objects, line)
		}
	}
	return objects
}

// magics are the signatures of file formats.
var magics = []struct {
	begin string
	Finding
}{
	{"\x1f\x8b", Finding{Kind: CompressedGzip, what: "gzip", unpack: "gzip -dc", suffix: ".gz"}},
	{"\x28\xb5\x2f\xfd", Finding{Kind: CompressedZstd, what: "zstd", unpack: "zstd -dc", suffix: ".zst"}},
	{"BZh", Finding{Kind: Bzip2, what: "bzip2", unpack: "bzip2 -dc"}},
	{"\xfd7zXZ\x00", Finding{Kind: XZ, what: "xz", unpack: "xz -dc"}},
	{"PK\x03\x04", Finding{Kind: Zip, what: "a zip archive", unpack: "unzip -p"}},
	{"PK\x05\x06", Finding{Kind: Zip, what: "a zip archive with nothing in it"}},
	{"%PDF-", Finding{Kind: Binary, what: "a PDF, a binary file"}},
	{"PAR1", Finding{Kind: Binary, what: "Parquet, a binary file"}},
	{"SQLite format 3\x00", Finding{Kind: Binary, what: "an SQLite database, a binary file"}},
	{"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Finding{Kind: Binary, what: "an old Excel or Word file, a binary file", advice: spreadsheet}},
}

func detectMagic(head []byte) *Finding {
	// The first frame may be a skippable one (RFC 8878, 3.1.2).
	if len(head) >= 4 && head[0]&0xf0 == 0x50 && string(head[1:4]) == "\x2a\x4d\x18" {
		head = []byte("\x28\xb5\x2f\xfd")
	}
	for _, m := range magics {
		if !bytes.HasPrefix(head, []byte(m.begin)) {
			continue
		}
		found := m.Finding
		if found.Kind == Zip && (bytes.Contains(head, []byte("[Content_Types].xml")) || bytes.Contains(head, []byte("xl/"))) {
			return &Finding{Kind: Zip, what: "an Excel workbook (a zip archive)", advice: spreadsheet}
		}
		return &found
	}
	return nil
}

// detectWide recognizes UTF-16 and UTF-32 by their byte order marks, and UTF-16 without one by its zero bytes: JSON and tables
// are mostly ASCII, so half of their bytes are zero.
func detectWide(head []byte) *Finding {
	wide := func(name, from string) *Finding {
		return &Finding{Kind: UTF16, what: name + ", not UTF-8", convert: "iconv -f " + from + " -t UTF-8 {in} > {out}", outSuffix: ".utf8"}
	}
	switch {
	case bytes.HasPrefix(head, []byte("\xff\xfe\x00\x00")), bytes.HasPrefix(head, []byte("\x00\x00\xfe\xff")):
		return wide("UTF-32", "UTF-32")
	case bytes.HasPrefix(head, []byte("\xff\xfe")), bytes.HasPrefix(head, []byte("\xfe\xff")):
		return wide("UTF-16", "UTF-16")
	}
	some := head[:min(len(head), 1024)&^1]
	var zeros [2]int
	for i, b := range some {
		if b == 0 {
			zeros[i&1]++
		}
	}
	// Allow some zeros at the other positions, as in U+0100.
	switch pairs := len(some) / 2; {
	case pairs < 2:
		return nil
	case some[0] != 0 && some[1] == 0 && zeros[1] > pairs/4 && zeros[0] <= pairs/16:
		return wide("UTF-16", "UTF-16LE")
	case some[0] == 0 && some[1] != 0 && zeros[0] > pairs/4 && zeros[1] <= pairs/16:
		return wide("UTF-16", "UTF-16BE")
	}
	return nil
}

var arrayStart = regexp.MustCompile(`^\[\s*(\{|\[|\]|"|-?[0-9]|(true|false|null)\b)`)

// detectArray recognizes a JSON array, in one line or several. It does not match one array per line.
func detectArray(text []byte, lines [][]byte, whole bool) *Finding {
	if !arrayStart.Match(text) {
		return nil
	}
	if len(lines) > 1 && json.Valid(lines[0]) {
		return nil
	}
	array := &Finding{Kind: Array, what: "a JSON array, not one JSON object a line", convert: `jq -c '.[]' {in} > {out}`}
	// If the array is broken, read it line by line: some lines may be calls.
	if !spansHead(text, whole) && len(objectsOf(lines)) > 0 {
		return nil
	}
	return array
}

// spansHead reports whether the text begins with one complete JSON value, or with one that is longer than the head.
func spansHead(text []byte, whole bool) bool {
	var value json.RawMessage
	err := json.NewDecoder(bytes.NewReader(text)).Decode(&value)
	return err == nil || !whole && errors.Is(err, io.ErrUnexpectedEOF)
}

var listMember = regexp.MustCompile(`^\{\s*"([A-Za-z_][A-Za-z0-9_]*)"\s*:\s*\[\s*\{`)

// detectObject recognizes a JSON object over several lines. sure reports that the file has no other format.
func detectObject(text []byte, lines [][]byte, whole bool) (found *Finding, sure bool) {
	if len(lines) == 0 || len(lines) == 1 && whole || json.Valid(lines[0]) {
		return nil, false
	}
	if !spansHead(text, whole) {
		return nil, false
	}
	found = &Finding{Kind: PrettyObject, what: "JSON over several lines (pretty-printed), not one object a line", convert: `jq -c . {in} > {out}`}
	if list := listMember.FindSubmatch(text); list != nil {
		found.what = "one JSON object with an array in it, not one object a line"
		found.convert = `jq -c '.` + string(list[1]) + `[]' {in} > {out}`
	}
	return found, true
}

// detectResults recognizes a results file of callq: all its lines are results.
func detectResults(objects [][]byte) *Finding {
	for _, line := range objects {
		var r tasks.Result
		if r.UnmarshalJSON(line) != nil || !bytes.Contains(line, []byte(`"attempts"`)) {
			return nil
		}
	}
	return &Finding{Kind: Results, what: "a results file of callq, not a file of calls"}
}

var (
	html = regexp.MustCompile(`(?i)^<(!doctype html|html|head|body)[\s>]`)
	xml  = regexp.MustCompile(`^<(\?xml|!--|[A-Za-z][\w:.-]*[\s/>])`)
)

func detectMarkup(text []byte, _ [][]byte, _ bool) *Finding {
	switch {
	case html.Match(text):
		return &Finding{Kind: HTML, what: "HTML, a web page", advice: "was it downloaded behind a login, or is it an error page? get the file itself"}
	case xml.Match(text):
		return &Finding{Kind: XML, what: "XML", advice: `write one JSON object a line of it, as {"path":"/…"}`}
	}
	return nil
}

var (
	path = regexp.MustCompile(`^/[^\s,;"]*$`)
	url  = regexp.MustCompile(`^https?://[^\s,;"]+$`)
)

// detectPaths recognizes a list of paths or of URLs, one per line.
func detectPaths(_ []byte, lines [][]byte, _ bool) *Finding {
	all := func(form *regexp.Regexp) bool {
		for _, line := range lines {
			if !form.Match(line) {
				return false
			}
		}
		return len(lines) > 0
	}
	switch {
	case all(path):
		return &Finding{Kind: Paths, what: "a list of paths, not one JSON object a line", convert: `jq -cR '{path: rtrimstr("\r")}' {in} > {out}`}
	case all(url):
		return &Finding{
			Kind: Paths, what: "a list of URLs, not one JSON object a line; paths are relative to base_url",
			convert: `jq -cR '{path: (rtrimstr("\r") | sub("^https?://[^/]*"; ""))}' {in} > {out}`,
		}
	}
	return nil
}

var (
	yamlStart  = regexp.MustCompile(`^(---(\s|$)|-(\s|$)|["']?[A-Za-z_][\w.-]*["']?:(\s|$))`)
	yamlConfig = regexp.MustCompile(`(?m)^upstreams:(\s|$)`)
)

// detectYAML recognizes YAML by its first line that is not a comment.
func detectYAML(text []byte, lines [][]byte, _ bool) *Finding {
	var first []byte
	for _, line := range lines {
		if line[0] != '#' && line[0] != '%' {
			first = line
			break
		}
	}
	if first == nil || !yamlStart.Match(first) {
		return nil
	}
	if yamlConfig.Match(text) {
		return &Finding{Kind: YAML, what: "YAML, a configuration of callq", advice: "give it with --config, and name a file of calls"}
	}
	load := "safe_load_all"
	for _, line := range lines {
		if bytes.Equal(line, []byte("-")) || bytes.HasPrefix(line, []byte("- ")) {
			load = "safe_load"
		}
		if line[0] != '#' && line[0] != '%' && !bytes.HasPrefix(line, []byte("---")) {
			break
		}
	}
	return &Finding{
		Kind: YAML, what: "YAML, not one JSON object a line", note: "with PyYAML",
		convert: `python3 -c 'import json,sys,yaml; [print(json.dumps(c,default=str)) for c in yaml.` + load + `(open(sys.argv[1]))]' {in} > {out}`,
	}
}
