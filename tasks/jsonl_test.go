package tasks_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/seed-2903acc3/callq/internal/httpsyntax"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/records"
)

var oneUpstream = tasks.ReadOptions{Rules: tasks.Rules{Upstreams: []tasks.UpstreamRules{{Name: "u"}}}}

// read returns the results of ReadCalls in short form: "3=key" for a call, "3" for one
// without a key, "5=3" if it repeats line 3, "3!field" for a refused line.
func read(t testing.TB, input io.Reader, opts tasks.ReadOptions) (got []string, failure error) {
	t.Helper()
	for line, err := range tasks.ReadCalls(input, opts) {
		var bad *tasks.FieldError
		switch {
		case err == nil:
			switch {
			case line.Repeats > 0:
				got = append(got, fmt.Sprintf("%d=%d", line.Number, line.Repeats))
			case line.ByContent:
				got = append(got, fmt.Sprint(line.Number))
			default:
				got = append(got, fmt.Sprintf("%d=%s", line.Number, line.Call.Key))
			}
			if own := tasks.ContentKey(tasks.ContentHash(line.Call)) == line.Call.Key; own != line.ByContent {
				t.Errorf("line %d has the key %s", line.Number, line.Call.Key)
			}
		case errors.As(err, &bad):
			if bad.Line != line.Number {
				t.Errorf("got line %d in the error, want %d", bad.Line, line.Number)
			}
			got = append(got, fmt.Sprintf("%d!%s", bad.Line, bad.Field))
		default:
			failure = err
		}
	}
	return got, failure
}

func TestLinesAreReadWithAnyLineEnd(t *testing.T) {
	for input, want := range map[string][]string{
		"":                                 nil,
		"\n\r\n \t\n":                      nil,
		`{"path":"/"}`:                     {"1"},
		"{\"path\":\"/\"}\n":               {"1"},
		"\xef\xbb\xbf{\"path\":\"/\"}\r\n": {"1"},
		"\xef\xbb\xbf":                     nil,
		"\n{\"path\":\"/\"}\r\n\n {\"path\":\"/\",\"key\":\"x\"} ": {"2", "4=x"},
		"{\"path\":\"/\"}\n\xef\xbb\xbf{\"path\":\"/\"}":           {"1", "2!"},
		"{\n\"path\":\"/\"\n}":                                     {"1!", "2!", "3!"},
		"{\"path\":\"/\"}\r{\"path\":\"/\"}":                       {"1!"},
		"\xff\xfe{\x00":                                            {"1!"},
		"\x00\n{\"path\":\"/\"}":                                   {"1!", "2"},
	} {
		for name, reader := range map[string]io.Reader{
			"whole": strings.NewReader(input), "byte by byte": iotest.OneByteReader(strings.NewReader(input)),
			"data with EOF": iotest.DataErrReader(strings.NewReader(input)),
		} {
			if got, err := read(t, reader, oneUpstream); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%q %s: %v, %v, want %v", input, name, got, err, want)
			}
		}
	}
}

func TestABadLineDoesNotStopTheOthers(t *testing.T) {
	input := strings.Join([]string{
		`{"path":"/a"}`, `not json`, `{"path":"//evil"}`, ``, `{"path":"/b","key":"b"}`, `{"path":"/c","nope":1}`, `{"path":"/d","batch":"x"}`,
		`{"path":"/e","upstream":"v"}`, `{"path":"/f"}`,
	}, "\n")
	want := []string{"1", "2!", "3!path", "5=b", "6!nope", "7!batch", "8!upstream", "9"}
	if got, err := read(t, strings.NewReader(input), oneUpstream); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestOnlyAFileThatBeginsLikeCSVIsReportedAsCSV(t *testing.T) {
	for input, want := range map[string]bool{
		"key,path\na,/a": true, "\"key\",\"path\"\n": true, "\n1,2\n": false, "key path\n": false,
		"{\"path\":\"/a\",}\n": false, "[1,2]\n": false, "\"a,b\"\n": false,
	} {
		got := false
		for _, err := range tasks.ReadCalls(strings.NewReader(input), oneUpstream) {
			got = got || err != nil && strings.Contains(err.Error(), "looks like CSV")
		}
		if got != want {
			t.Errorf("%q: reported as CSV: got %v", input, got)
		}
	}
}

func TestABatchInALineIsAllowedOnRequest(t *testing.T) {
	opts := oneUpstream
	opts.AllowBatch = true
	for line, err := range tasks.ReadCalls(strings.NewReader(`{"path":"/","batch":"july"}`), opts) {
		if err != nil || line.Call.Batch != "july" {
			t.Errorf("got %+v, %v", line, err)
		}
	}
}

func TestALineThatIsTooLongIsRefusedAndReadingGoesOn(t *testing.T) {
	opts := oneUpstream
	for _, limit := range []int{100, 70_000, 200_000} {
		opts.MaxLine = limit
		exact := `{"path":"/","body":"` + strings.Repeat("x", limit-22) + `"}`
		for _, ending := range []string{"\n", ""} {
			input := `{"path":"/"}` + "\n" + exact + "\n" + strings.Replace(exact, "x", "xx", 1) + "\n" + strings.Repeat("y", 3*limit) + "\n" + `{"path":"/"}` + "\n" + exact + "x" + ending
			want := []string{"1", "2", "3!", "4!", "5=1", "6!"}
			if got, err := read(t, strings.NewReader(input), opts); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("limit %d: %v, %v", limit, got, err)
			}
		}
	}
}

func TestALineMayHaveTheLargestBodyInEscapes(t *testing.T) {
	opts := tasks.ReadOptions{Rules: tasks.Rules{Upstreams: []tasks.UpstreamRules{{Name: "u", MaxBody: 300_000}}}}
	line := `{"path":"/","body":"` + strings.Repeat(`\u5c02`, 100_000) + `"}`
	if got, err := read(t, strings.NewReader(line), opts); err != nil || !reflect.DeepEqual(got, []string{"1"}) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestAReadErrorIsNotARefusedLine(t *testing.T) {
	broken := errors.New("the disk is gone")
	input := io.MultiReader(strings.NewReader("{\"path\":\"/\"}\n{\"path\":"), iotest.ErrReader(broken))
	got, err := read(t, input, oneUpstream)
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "after line 1") || !reflect.DeepEqual(got, []string{"1"}) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestReadingStopsWhenTheCallerStops(t *testing.T) {
	count := 0
	for range tasks.ReadCalls(strings.NewReader("x\nx\nx\n"), oneUpstream) {
		if count++; count == 2 {
			break
		}
	}
	if count != 2 {
		t.Errorf("got %d lines", count)
	}
}

func TestCallsDoNotShareTheReadersMemory(t *testing.T) {
	var calls []tasks.Call
	input := `{"path":"/a","key":"a","query":{"q":"a","n":1},"headers":{"X-A":"a"},"body":{"a":"a"}}` + "\n" +
		`{"path":"/b","key":"b","query":{"q":"b","n":2},"headers":{"X-A":"b"},"body":{"a":"b"}}` + "\n"
	for line, err := range tasks.ReadCalls(strings.NewReader(input), oneUpstream) {
		if err != nil {
			t.Fatal(err)
		}
		calls = append(calls, line.Call)
	}
	first, err := tasks.AppendCall(nil, calls[0])
	if err != nil || bytes.ContainsAny(first, "b2") != bytes.ContainsAny([]byte("body"), "b") || strings.Contains(string(first), `"b"`) {
		t.Errorf("got %s, %v", first, err)
	}
}

// endless repeats a text without holding all of it in memory.
type endless struct {
	text string
	left int
	at   int
}

func (e *endless) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n := copy(p, e.text[e.at:])
	if e.at += n; e.at == len(e.text) {
		e.at = 0
		e.left--
	}
	return n, nil
}

func TestReadingALongFileTakesBoundedMemory(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	lines, held := 0, uint64(0)
	for _, err := range tasks.ReadCalls(&endless{text: sampleLine + "\n", left: 50_000}, oneUpstream) {
		if err != nil {
			t.Fatal(err)
		}
		if lines++; lines%25_000 == 0 {
			runtime.GC()
			runtime.ReadMemStats(&after)
			held = max(held, after.HeapAlloc-min(after.HeapAlloc, before.HeapAlloc))
		}
	}
	if lines != 50_000 || held > 1<<20 {
		t.Errorf("got %d lines, %d bytes held", lines, held)
	}
	// A line without an end must not fill the memory either.
	opts := oneUpstream
	opts.MaxLine = 1 << 20
	runtime.ReadMemStats(&before)
	got, err := read(t, &endless{text: strings.Repeat("x", 1000), left: 50_000}, opts)
	runtime.ReadMemStats(&after)
	if taken := after.TotalAlloc - before.TotalAlloc; err != nil || !reflect.DeepEqual(got, []string{"1!"}) || taken > 10<<20 {
		t.Errorf("got %v, %v, %d bytes allocated", got, err, taken)
	}
}

// sampleLine has about 200 bytes.
const sampleLine = `{"key":"row-123456","upstream":"u","method":"GET","path":"/search/patent","query":{"q":"solar cell","limit":20},` +
	`"headers":{"Accept-Language":"en"},"body":null,"priority":"normal","idempotent":null,"not_before":null}`

func TestALineTakesFewAllocations(t *testing.T) {
	const lines = 1000
	input := strings.Repeat(sampleLine+"\n", lines)
	per := testing.AllocsPerRun(3, func() {
		for _, err := range tasks.ReadCalls(strings.NewReader(input), oneUpstream) {
			if err != nil {
				t.Fatal(err)
			}
		}
	}) / lines
	if per > 20 {
		t.Errorf("got %.1f allocations for each line", per)
	}
}

func BenchmarkReadCalls(b *testing.B) {
	for name, line := range map[string]string{
		"search":  sampleLine,
		"minimal": `{"path":"/search?q=solar"}`,
		"body":    `{"key":"row-1","method":"POST","path":"/search","body":{"q":"solar cell","filter":{"year":[2020,2021],"country":"CN"},"limit":50}}`,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(line) + 1))
			for _, err := range tasks.ReadCalls(&endless{text: line + "\n", left: b.N}, oneUpstream) {
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkStore(b *testing.B) {
	call, err := tasks.ParseCall([]byte(sampleLine))
	if err != nil {
		b.Fatal(err)
	}
	stored, err := records.Content(call)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = records.Content(call)
		}
	})
	record := recordOf(call, stored)
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = records.Call(record)
		}
	})
	b.Run("hash", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = tasks.ContentHash(call)
		}
	})
}

func FuzzReadCalls(f *testing.F) {
	for _, seed := range []string{
		sampleLine, "\xef\xbb\xbf{\"path\":\"/\"}\r\n", "\n\n{}\n", "{\"path\":\"/\"}\n{", "{\"path\":\"/\",\"query\":{\"a\":[1,\"b\",true]}}",
		"{\"path\":\"/%2e%2e/\"}", "{\"path\":\"/\",\"body\":{\"base64\":\"AA==\",\"content_type\":\"\"}}", "{\"path\":\"/\",\"headers\":{\"a\":\"b\",\"A\":\"c\"}}",
		"{\"path\":\"/\\ud800\"}", "{\"path\":\"/\"}x", "[[[[", "{\"path\":\"/\\u000d\\u000a\"}", strings.Repeat("x", 700), "{\"path\":\"/\",\"deadline\":\"0001-01-01T00:00:00Z\"}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		opts := oneUpstream
		opts.MaxLine, opts.AllowBatch = 500, true
		filled := 0
		for _, line := range bytes.Split(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), []byte("\n")) {
			if len(bytes.Trim(line, " \t\r")) > 0 {
				filled++
			}
		}
		for line, err := range tasks.ReadCalls(bytes.NewReader(data), opts) {
			filled--
			if err != nil {
				if bad := (*tasks.FieldError)(nil); !errors.As(err, &bad) || bad.Line != line.Number {
					t.Fatalf("line %d: %v", line.Number, err)
				}
				continue
			}
			call := line.Call
			path, err := call.URLPath()
			if err != nil || strings.ContainsAny(path, " \r\n?#\\") || strings.Contains(path+"/", "/../") {
				t.Fatalf("accepted path %q became %q, %v", call.Path, path, err)
			}
			if query, err := call.URLQuery(); err != nil || strings.ContainsAny(query, " \r\n#") {
				t.Fatalf("accepted query became %q, %v", query, err)
			}
			if _, _, err := call.RequestBody(); err != nil {
				t.Fatal(err)
			}
			for name, value := range call.Headers {
				if httpsyntax.IsReserved(name) || strings.ContainsAny(name+value, "\r\n\x00") {
					t.Fatalf("header %q: %q", name, value)
				}
			}
			again, err := opts.Rules.Check(call)
			if err != nil || !reflect.DeepEqual(again, call) {
				t.Fatalf("a second check: got %#v, %v\nwant %#v", again, err, call)
			}
			stored, err := records.Content(call)
			if err != nil {
				t.Fatal(err)
			}
			if back, err := records.Call(recordOf(call, stored)); err != nil || !reflect.DeepEqual(back, call) {
				t.Fatalf("%s: %#v, %v\nwas %#v", stored, back, err, call)
			}
		}
		// Every line that is not blank yields a call or a refusal, except a blank one
		// that is too long.
		if filled > 0 || filled < 0 && len(data) < 500 {
			t.Fatalf("%d lines yielded neither a call nor a refusal", filled)
		}
	})
}

func ExampleReadCalls() {
	file := strings.NewReader(`{"path":"/search?q=solar"}
{"path":"search"}
{"path":"/search","parms":{"q":"wind"}}
{"key":"wind","path":"/search","query":{"q":"wind"}}
`)
	opts := tasks.ReadOptions{Rules: tasks.Rules{Upstreams: []tasks.UpstreamRules{{Name: "patsnap"}}}}
	for line, err := range tasks.ReadCalls(file, opts) {
		var refused *tasks.FieldError
		switch {
		case errors.As(err, &refused):
			fmt.Println(refused)
		case err != nil:
			fmt.Println("the file cannot be read:", err)
		default:
			fmt.Println(line.Number, line.Call.Key, line.Call.Path)
		}
	}
	// Output:
	// 1 c-6eb852c88268b515 /search?q=solar
	// line 2: field "path" must begin with "/" (got "search"); write the path relative to the upstream's base_url
	// line 3: field "parms" is unknown; the fields are key, batch, upstream, method, path, query, headers, body, priority, idempotent, not_before, deadline, meta
	// 4 wind /search
}
