package callsfile

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/klauspost/compress/zstd"

	"github.com/seed-2903acc3/callq/tasks"
)

const calls = "{\"key\":\"a\",\"path\":\"/a\"}\n{\"key\":\"b\",\"path\":\"/é\"}\n"

func wide(text string, order binary.ByteOrder, mark bool) string {
	var out bytes.Buffer
	units := utf16.Encode([]rune(text))
	if mark {
		units = append([]uint16{0xfeff}, units...)
	}
	for _, u := range units {
		if err := binary.Write(&out, order, u); err != nil {
			panic(err)
		}
	}
	return out.String()
}

func gzipped(texts ...string) string {
	var out bytes.Buffer
	for _, text := range texts {
		w := gzip.NewWriter(&out)
		if _, err := w.Write([]byte(text)); err != nil {
			panic(err)
		}
		if err := w.Close(); err != nil {
			panic(err)
		}
	}
	return out.String()
}

func zstandard(texts ...string) string {
	var out bytes.Buffer
	for _, text := range texts {
		w, err := zstd.NewWriter(&out)
		if err != nil {
			panic(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			panic(err)
		}
		if err := w.Close(); err != nil {
			panic(err)
		}
	}
	return out.String()
}

// fixtures are files that users give as files of calls. made has the paths of the calls that the command in the message makes
// from them, if there is a command.
var fixtures = []struct {
	name, text string
	kind       Kind
	says       string // the text after "NAME is "
	made       string
	needs      string // the tools that the command needs
}{
	{"utf16-le", wide(calls, binary.LittleEndian, true), UTF16, "UTF-16, not UTF-8; convert it: iconv -f UTF-16 -t UTF-8 utf16-le > utf16-le.utf8", "/a /é", "iconv"},
	{"utf16-be", wide(calls, binary.BigEndian, true), UTF16, "UTF-16, not UTF-8; convert it: iconv -f UTF-16 -t UTF-8 ", "/a /é", "iconv"},
	{"utf16-le-bare", wide(calls, binary.LittleEndian, false), UTF16, "UTF-16, not UTF-8; convert it: iconv -f UTF-16LE ", "/a /é", "iconv"},
	{"utf16-be-bare", wide(calls, binary.BigEndian, false), UTF16, "UTF-16, not UTF-8; convert it: iconv -f UTF-16BE ", "/a /é", "iconv"},
	{"utf16-table.txt", wide("path;q\r\n/a;1\r\n", binary.LittleEndian, true), UTF16, "UTF-16, ", "", ""},
	{"utf16-chinese", wide(`{"path":"/s","query":{"q":"太阳能电池太阳能电池太阳能电池Āā"}}`+"\n", binary.LittleEndian, false), UTF16, "UTF-16, ", "/s?q=" + strings.Repeat("%E5%A4%AA%E9%98%B3%E8%83%BD%E7%94%B5%E6%B1%A0", 3) + "%C4%80%C4%81", "iconv"},
	{"utf32", "\xff\xfe\x00\x00{\x00\x00\x00", UTF16, "UTF-32, not UTF-8; convert it: iconv -f UTF-32 ", "", ""},

	{"packed", gzipped(calls), CompressedGzip, "gzip; give it a name that ends in .gz, then it is read: mv packed packed.gz", "", ""},
	{"packed.jsonl", zstandard(calls), CompressedZstd, "zstd; give it a name that ends in .zst, then it is read: mv packed.jsonl packed.jsonl.zst", "", ""},
	{"calls.bz2", "BZh91AY&SY", Bzip2, "bzip2; unpack it: bzip2 -dc calls.bz2 > calls.jsonl", "", ""},
	{"calls.jsonl.xz", "\xfd7zXZ\x00\x00\x04", XZ, "xz; unpack it: xz -dc calls.jsonl.xz > calls.jsonl.jsonl", "", ""},
	{"calls.zip", "PK\x03\x04\x14\x00", Zip, "a zip archive; unpack it: unzip -p calls.zip > calls.jsonl", "", ""},
	{"book.xlsx", "PK\x03\x04\x14\x00\x06\x00[Content_Types].xml", Zip, "an Excel workbook (a zip archive); save it as CSV", "", ""},

	{"comma.csv", "path,q\n/a,1\n/b,2\n", Table, "CSV (separated by commas), not one JSON object a line; convert it: python3 -c '", "/a?q=1 /b?q=2", "python3"},
	{"semicolon.csv", "path;q\r\n/a;1\r\n", Table, "CSV (separated by semicolons), ", "/a?q=1", "python3"},
	{"tab.tsv", "path\tq\n/a\t1\n", Table, "CSV (separated by tabs), ", "/a?q=1", "python3"},
	{"bar.txt", "path|q\n/a|1\n", Table, "CSV (separated by vertical bars), ", "/a?q=1", "python3"},
	{"quoted.csv", "\"path\",\"q\"\n\"/a\",\"1, \"\"2\"\"\nand 3\"\n", Table, "CSV (separated by commas), ", "/a?q=1%2C%20%222%22%0Aand%203", ""},
	{"quoted2.csv", "\"path\";\"q\"\n\"/a\";\"1, 2; 3\"\n", Table, "CSV (separated by semicolons), ", "/a?q=1%2C%202%3B%203", "python3"},
	{"marked.csv", "\xef\xbb\xbfpath,q\r\n/a,1\r\n", Table, "CSV (separated by commas), ", "/a?q=1", "python3"},
	{"header_only.csv", "key,path\n", Table, "CSV (separated by commas), ", "", "python3"},
	{"excel.csv", "sep=;\r\npath;q\r\n/a;1\r\n", Table, "CSV (separated by semicolons), ", "/a?q=1", "python3 tail"},
	{"latin1.csv", "path;q\r\n/a;caf\xe9\r\n", Table, "CSV (separated by semicolons), ", "/a?q=caf%C3%A9", "python3"},
	{"no path.csv", "patent,country\nUS1,US\nEP2,EP\n", Table, "CSV (separated by commas), not one JSON object a line; convert it (with the API's path for /PATH): ", "/PATH?country=US&patent=US1 /PATH?country=EP&patent=EP2", "python3"},
	{"all.csv", "Key,Method,Path,Body,extra\nk1,POST,/a,\"{\"\"n\"\":1}\",x\n", Table, "CSV (separated by commas), ", "/a?extra=x", "python3"},
	{"query.csv", "path,query,note\n/a,\"{\"\"q\"\":1}\",mine\n", Table, "CSV (separated by commas), ", "/a?q=1", "python3"},
	{"column.csv", "path\n/a\n/b\n", Table, "CSV (one column), ", "/a /b", "python3"},
	{"ragged.csv", "path,q\n/a\n/b,1,2\n", Table, "CSV (separated by commas), ", "", ""},

	{"pretty.json", "[\n {\n  \"path\": \"/a\"\n },\n {\"path\": \"/b\"}\n]\n", Array, "a JSON array, not one JSON object a line; convert it: jq -c '.[]' pretty.json > pretty.jsonl", "/a /b", "jq"},
	{"line.json", `[{"path":"/a"},{"path":"/b"}]`, Array, "a JSON array, ", "/a /b", "jq"},
	{"lines.jsonl", "[\n{\"path\":\"/a\"},\n{\"path\":\"/b\"}\n]\n", Array, "a JSON array, not one JSON object a line; convert it: jq -c '.[]' lines.jsonl > lines.lines.jsonl", "/a /b", "jq"},
	{"marked.json", "\xef\xbb\xbf\r\n[{\"path\":\"/a\"}]", Array, "a JSON array, ", "", ""},
	{"cut.json", "[{\"path\":\"/a\"},\n {\"pa", Array, "a JSON array, ", "", ""},
	{"empty.json", "[]", Array, "a JSON array, ", "", "jq"},
	{"object.json", "{\n  \"path\": \"/a\",\n  \"query\": {\"q\": 1}\n}\n", PrettyObject, "JSON over several lines (pretty-printed), not one object a line; convert it: jq -c . object.json > object.jsonl", "/a?q=1", "jq"},
	{"objects.json", "{\n  \"path\": \"/a\"\n}\n{\n  \"path\": \"/b\"\n}\n", PrettyObject, "JSON over several lines", "/a /b", "jq"},
	{"nested.json", "{\n  \"calls\": [\n    {\"path\":\"/a\"},\n    {\"path\":\"/b\"}\n  ]\n}\n", PrettyObject, "one JSON object with an array in it, not one object a line; convert it: jq -c '.calls[]' nested.json > nested.jsonl", "/a /b", "jq"},

	{"calls.jsonl.results.jsonl", `{"key":"a","state":"done","attempts":1,"body":null}` + "\n", Results, "a results file of callq, not a file of calls; the calls are in calls.jsonl", "", ""},
	{"out", `{"key":"a","state":"dead","attempts":1}` + "\n" + `{"key":"b","state":"done","attempts":1}` + "\n", Results, "a results file of callq, not a file of calls; name the file of the calls", "", ""},

	{"list.yaml", "# calls\n- path: /a\n- path: /b\n  query: {q: 1}\n", YAML, "YAML, not one JSON object a line; convert it (with PyYAML): python3 -c '", "/a /b?q=1", "python3 yaml"},
	{"documents.yaml", "---\npath: /a\n---\npath: /b\n", YAML, "YAML, ", "/a /b", "python3 yaml"},
	{"one.yml", "path: /a\nquery:\n  q: 1\n", YAML, "YAML, ", "/a?q=1", "python3 yaml"},
	{"callq.yaml", "redis: embedded:\nupstreams:\n  a: {base_url: x}\n", YAML, "YAML, a configuration of callq; give it with --config", "", ""},

	{"page.html", "<!DOCTYPE html>\n<html><body>Sign in</body></html>", HTML, "HTML, a web page; was it downloaded behind a login", "", ""},
	{"page", "  <HTML lang=en>", HTML, "HTML, ", "", ""},
	{"feed.xml", "<?xml version=\"1.0\"?>\n<calls/>", XML, "XML; ", "", ""},
	{"paths.txt", "/a\r\n/b?q=1\r\n", Paths, "a list of paths, not one JSON object a line; convert it: jq -cR ", "/a /b?q=1", "jq"},
	{"urls.txt", "https://api.example.com/a\nhttps://api.example.com/b?q=1\n", Paths, "a list of URLs, ", "/a /b?q=1", "jq"},
	{"data.bin", "\x7fELF\x02\x01\x01\x00\x00", Binary, "a binary file; a file of calls has one JSON object a line", "", ""},
	{"data.parquet", "PAR1\x15\x04", Binary, "Parquet, a binary file; ", "", ""},

	// These files are read line by line.
	{"calls.jsonl", calls, "", "", "", ""},
	{"marked.jsonl", "\xef\xbb\xbf\r\n" + calls, "", "", "", ""},
	{"empty", "", "", "", "", ""},
	{"blank", "\xef\xbb\xbf \r\n\t\n", "", "", "", ""},
	{"first_line_bad.jsonl", "key,path\n" + calls, "", "", "", ""},
	{"first_line_array.jsonl", "[1,2\n" + calls, "", "", "", ""},
	{"first_line_cut.jsonl", "{\"path\":\"/x\",\n" + calls, "", "", "", ""},
	{"first_line_html.jsonl", "<html>\n" + calls, "", "", "", ""},
	{"zero_byte.jsonl", calls + "{\"path\":\"/\x00\"}\n", "", "", "", ""},
	{"comment.jsonl", "# my calls\n" + calls, "", "", "", ""},
	{"results_and_calls.jsonl", "{\"key\":\"a\",\"state\":\"done\",\"attempts\":1}\n" + calls, "", "", "", ""},
	{"arrays.jsonl", "[\"/a\"]\n[\"/b\"]\n", "", "", "", ""},
	{"one_cut.jsonl", `{"path":"/a"`, "", "", "", ""},
	{"prose.txt", "Hello, world", "", "", "", ""},
	{"ids.txt", "US1\nUS2\n", "", "", "", ""},
	{"python.txt", "{'path': '/a'}\n{'path': '/b'}\n", "", "", "", ""},
	{"long_line.jsonl", `{"path":"/a","body":"` + strings.Repeat("x", headSize) + "\"}\n", "", "", "", ""},
}

func TestDetectRecognizesEachFormat(t *testing.T) {
	for _, test := range fixtures {
		head, whole, err := Head(strings.NewReader(test.text))
		if err != nil {
			t.Fatal(err)
		}
		found := Detect(head, whole)
		switch {
		case found == nil && test.kind == "":
		case found == nil:
			t.Errorf("%s: got no finding, want %s", test.name, test.kind)
		case found.Kind != test.kind:
			t.Errorf("%s: got %s, want %q", test.name, found.Kind, test.kind)
		default:
			if says := found.In(test.name); !strings.HasPrefix(says, test.name+" is "+test.says) || strings.ContainsAny(says, "\r\n") || strings.Contains(says, "{in}") {
				t.Errorf("%s: %s", test.name, says)
			}
			if says := found.In("-"); !strings.HasPrefix(says, "standard input is ") || strings.Contains(says, " - ") {
				t.Errorf("%s: %s", test.name, says)
			}
		}
	}
}

func TestALongFileIsRecognizedByItsBeginning(t *testing.T) {
	many := func(before, one, between string) string {
		return before + strings.Repeat(one+between, headSize/len(one)+2)
	}
	for _, test := range []struct {
		name, text string
		want       Kind
	}{
		{"array in one line", many("[", `{"path":"/a"}`, ","), Array},
		{"array over lines", many("[\n", `{"path":"/a"}`, ",\n"), Array},
		{"object", many("{\n\"calls\": [\n", `{"path":"/a"}`, ",\n"), PrettyObject},
		{"table", many("path,q\n", "/a,1", "\n"), Table},
		{"table in UTF-8", many("path,q\n", "/a,日本", "\n"), Table},
		{"paths", many("", "/a/b/c", "\n"), Paths},
		{"calls", many("", `{"path":"/a"}`, "\n"), ""},
	} {
		head, whole, err := Head(strings.NewReader(test.text))
		if err != nil || whole {
			t.Fatal(whole, err)
		}
		found := Detect(head, whole)
		if (found == nil) != (test.want == "") || found != nil && found.Kind != test.want {
			t.Errorf("%s: %+v", test.name, found)
		}
		if found != nil && strings.Contains(found.In("f"), "cp1252") {
			t.Errorf("%s: got another encoding because of an incomplete last character: %s", test.name, found.In("f"))
		}
	}
}

// run executes the command in a message.
func run(t *testing.T, dir, says string) {
	t.Helper()
	_, command, ok := strings.Cut(says, "convert it")
	if !ok {
		_, command, _ = strings.Cut(says, "unpack it")
	}
	_, command, ok = strings.Cut(command, ": ")
	if !ok {
		t.Fatalf("no command in %s", says)
	}
	cmd := exec.Command("sh", "-c", command)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
}

// missingTool returns the first of the tools that is not installed.
func missingTool(tools string) string {
	for _, tool := range strings.Fields(tools) {
		var err error
		if tool == "yaml" {
			err = exec.Command("python3", "-c", "import yaml").Run()
		} else {
			_, err = exec.LookPath(tool)
		}
		if err != nil {
			return tool
		}
	}
	return ""
}

func pathsOf(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	rules := tasks.Rules{Upstreams: []tasks.UpstreamRules{{Name: "u"}}}
	for line, err := range tasks.ReadCalls(bytes.NewReader(data), tasks.ReadOptions{Rules: rules}) {
		if err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		query, err := line.Call.URLQuery()
		if err != nil {
			t.Fatal(err)
		}
		path, _, _ := strings.Cut(line.Call.Path, "?")
		if query != "" {
			path += "?" + query
		}
		paths = append(paths, path)
	}
	return strings.Join(paths, " ")
}

func TestTheCommandInTheMessageConvertsTheFileToCalls(t *testing.T) {
	ran, last := 0, Kind("")
	for _, test := range fixtures {
		if test.needs == "" {
			continue
		}
		if tool := missingTool(test.needs); tool != "" {
			t.Logf("%s: %s is not installed", test.name, tool)
			continue
		}
		ran++
		names := []string{test.name}
		if test.kind != last {
			names = append(names, test.name+".gz", test.name+".zst") // one compressed file of each kind is enough
		}
		last = test.kind
		for _, name := range names {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				makesCalls(t, name, test.text, test.made)
			})
		}
	}
	if ran == 0 {
		t.Skip("none of the tools is installed")
	}
}

// makesCalls runs the command in the message for a file with that name and text, and checks
// the calls that it makes.
func makesCalls(t *testing.T, name, text, want string) {
	dir, plain := t.TempDir(), text
	switch PackingOf(name) {
	case Gzip:
		text = gzipped(text)
		if missingTool("gzip") != "" {
			return
		}
	case Zstd:
		text = zstandard(text)
		if missingTool("zstd") != "" {
			return
		}
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	head, whole, err := Head(strings.NewReader(plain))
	if err != nil {
		t.Fatal(err)
	}
	run(t, dir, Detect(head, whole).In(name))
	if data, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(data) != text {
		t.Errorf("%s: the command has changed the file: %v", name, err)
	}
	made, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(made) != 2 {
		t.Fatalf("%s: %v, %v", name, made, err)
	}
	out := made[0]
	if filepath.Base(out) == name {
		out = made[1]
	}
	if got := pathsOf(t, out); got != want {
		t.Errorf("%s: calls %q, want %q", name, got, want)
	}
}

func TestAWrongExtensionForACompressionIsReported(t *testing.T) {
	for _, test := range []struct{ name, text, says string }{
		{"calls.jsonl.gz", gzipped(calls), ""},
		{"calls.jsonl.zst", zstandard(calls), ""},
		{"calls.zst", "\x5a\x2a\x4d\x18\x00\x00\x00\x00" + zstandard(calls), ""},
		{"calls.jsonl", calls, ""},
		{"calls.gz", "", ""}, // incomplete; Unpack returns the error
		{"calls.jsonl.gz", calls, "calls.jsonl.gz is not gzip, though its name says so; if it is text already, name it so: mv calls.jsonl.gz calls.jsonl"},
		{"calls.jsonl.zst", gzipped(calls), "calls.jsonl.zst is gzip; name it so: mv calls.jsonl.zst calls.jsonl.gz"},
		{"calls.GZ", zstandard(calls), "calls.GZ is zstd; name it so: mv calls.GZ calls.zst"},
		{"my calls.gz", "PK\x03\x04", "my calls.gz is a zip archive, not gzip; name it as what it is"},
	} {
		found := Mispacked(test.name, []byte(test.text))
		if (found == nil) != (test.says == "") || found != nil && found.In(test.name) != test.says {
			t.Errorf("%s: %+v", test.name, found)
		}
	}
}

func FuzzDetect(f *testing.F) {
	for _, test := range fixtures {
		f.Add([]byte(test.text[:min(len(test.text), 500)]), true)
		f.Add([]byte(test.text[:min(len(test.text), 500)]), false)
	}
	f.Fuzz(func(t *testing.T, head []byte, whole bool) {
		found := Detect(head, whole)
		if found == nil {
			return
		}
		for _, name := range []string{"calls.jsonl", "-", "a b.gz", "-x.zst"} {
			if says := found.In(name); says == "" || strings.ContainsAny(says, "\r\n") || strings.Contains(says, "{in}") || strings.Contains(says, "{out}") {
				t.Fatalf("%q: %q", head, says)
			}
		}
		switch found.Kind {
		case Table, Paths, YAML, HTML, XML:
			if !whole {
				return
			}
		default:
			return
		}
		// The file may be refused as a whole only if no line of it is a call.
		for line, err := range tasks.ReadCalls(bytes.NewReader(head), tasks.ReadOptions{Rules: tasks.Rules{Upstreams: []tasks.UpstreamRules{{Name: "u"}}}}) {
			var bad *tasks.FieldError
			if err == nil {
				t.Fatalf("%q: got %s, but line %d is a call", head, found.Kind, line.Number)
			}
			if err != nil && !errors.As(err, &bad) {
				t.Fatal(err)
			}
		}
	})
}
