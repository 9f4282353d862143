package tasks_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/seed-2903acc3/callq/tasks"
)

// readResults returns the results of ReadResults in short form: a key, "3!" for a bad
// line, "torn:OFFSET" and "torn:OFFSET+newline".
func readResults(r io.Reader) (got []string, failure error) {
	for result, err := range tasks.ReadResults(r) {
		var bad *tasks.FieldError
		var torn *tasks.TornLineError
		switch {
		case err == nil:
			got = append(got, result.Key)
		case errors.As(err, &bad):
			got = append(got, fmt.Sprintf("%d!", bad.Line))
		case errors.As(err, &torn) && torn.NeedsNewline:
			got = append(got, fmt.Sprintf("torn:%d+newline", torn.Offset))
		case errors.As(err, &torn):
			got = append(got, fmt.Sprintf("torn:%d", torn.Offset))
		default:
			failure = err
		}
	}
	return got, failure
}

func TestAHalfWrittenLastLineIsReportedWithTheOffsetToCutAt(t *testing.T) {
	const a, b = `{"key":"a","state":"done"}`, `{"key":"b","state":"dead","future":[{"x":1}]}`
	for input, want := range map[string][]string{
		"":                                   nil,
		"\n \n":                              nil,
		a + "\n" + b + "\n":                  {"a", "b"},
		a + "\r\n\n" + b + "\r\n":            {"a", "b"},
		a + "\n" + b[:20]:                    {"a", "torn:27"},
		a + "\n" + b[:1]:                     {"a", "torn:27"},
		a + "\n" + b:                         {"a", "b", "torn:72+newline"},
		a + "\n" + b + "\r":                  {"a", "b", "torn:73+newline"},
		a + "\n\x00\x00\x00":                 {"a", "torn:27"},
		a + "\n  ":                           {"a", "torn:27"},
		a[:9]:                                {"torn:0"},
		"\xef\xbb\xbf" + a + "\n" + b[:9]:    {"a", "torn:30"},
		a[:9] + b + "\n" + a + "\n":          {"1!", "a"},
		`{"key":"x"}` + "\n" + a + "\n":      {"1!", "a"},
		`{"state":"done"}` + "\n" + a + "\n": {"1!", "a"},
		`{"key":"a","state":"open"}` + "\n":  {"1!"},
		`{"key":"a","state":"done","http_status":"x"}` + "\n":                    {"1!"},
		`{"key":"a","state":"done","error_code":{}}` + "\n":                      {"1!"},
		`{"key":"a","state":"done","finished_at":"x"}` + "\n":                    {"1!"},
		`{"key":"a","state":"done","finished_at":"0001-01-01T00:00:00Z"}` + "\n": {"a"},
	} {
		for name, reader := range map[string]io.Reader{"whole": strings.NewReader(input), "byte by byte": iotest.OneByteReader(strings.NewReader(input))} {
			if got, err := readResults(reader); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%q %s: %v, %v, want %v", input, name, got, err, want)
			}
		}
	}
	broken := errors.New("the disk is gone")
	got, err := readResults(io.MultiReader(strings.NewReader(a+"\n"+b[:9]), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) || !reflect.DeepEqual(got, []string{"a"}) {
		t.Errorf("a read error was reported as a torn line: %v, %v", got, err)
	}
}

// TestAFileTruncatedAnywhereIsRepairedByCuttingAtTheReportedOffset simulates a crash at
// every byte.
func TestAFileTruncatedAnywhereIsRepairedByCuttingAtTheReportedOffset(t *testing.T) {
	var file []byte
	for _, key := range []string{"a", "b"} {
		result := doneResult
		result.Key = key
		var err error
		if file, err = tasks.EncodeResult(file, result); err != nil {
			t.Fatal(err)
		}
	}
	for cut := range len(file) + 1 {
		part := bytes.Clone(file[:cut])
		for _, err := range tasks.ReadResults(bytes.NewReader(part)) {
			if torn := (*tasks.TornLineError)(nil); errors.As(err, &torn) {
				if part = part[:torn.Offset]; torn.NeedsNewline {
					part = append(part, '\n')
				}
			} else if err != nil {
				t.Fatalf("cut at %d: %v", cut, err)
			}
		}
		got, err := readResults(bytes.NewReader(append(part, `{"key":"next","state":"done"}`+"\n"...)))
		want := append([]string{"a", "b"}[:bytes.Count(part, []byte("\n"))], "next")
		if err != nil || !reflect.DeepEqual(got, want) || !bytes.HasPrefix(file, part) {
			t.Fatalf("cut at %d: %v, %v, want %v", cut, got, err, want)
		}
	}
}

func FuzzReadResults(f *testing.F) {
	line, err := tasks.EncodeResult(nil, doneResult)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(line)
	f.Add(append(line, line[:50]...))
	for _, seed := range []string{
		"", "\n", "\x00\x00", `{"key":"a","state":"done"}`, "{\"key\":\"a\",\"state\":\"done\",\"error_code\":\"1\"}\n{", `{"key":"a","state":"done","body":[ 1 , "\n" ]}` + "\n",
		`{"key":"a","state":"dead","first_at":"2026-01-01T00:00:00.1+01:00","attempts":-1}` + "\n", `{"key":"a","key":"b","state":"done"}` + "\n",
		`{"key":"a","state":"done","body":"` + base64.StdEncoding.EncodeToString([]byte("x")) + `"}` + "\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for result, err := range tasks.ReadResults(bytes.NewReader(data)) {
			var bad *tasks.FieldError
			var torn *tasks.TornLineError
			switch {
			case errors.As(err, &bad):
			case errors.As(err, &torn):
				if torn.Offset < 0 || torn.Offset > int64(len(data)) {
					t.Fatalf("cut at %d of %d", torn.Offset, len(data))
				}
				if rest := data[torn.Offset:]; bytes.Contains(rest, []byte("\n")) || torn.NeedsNewline && len(rest) > 0 {
					t.Fatalf("%q would be removed", rest)
				}
			case err != nil:
				t.Fatal(err)
			default:
				written, err := tasks.EncodeResult(nil, result)
				if err != nil {
					t.Fatal(err)
				}
				for again, err := range tasks.ReadResults(bytes.NewReader(written)) {
					rewritten, encodeErr := tasks.EncodeResult(nil, again)
					if err != nil || encodeErr != nil || !bytes.Equal(rewritten, written) {
						t.Fatalf("%s\n%s\n%v, %v", written, rewritten, err, encodeErr)
					}
				}
			}
		}
	})
}

func ExampleReadResults() {
	file := strings.NewReader(`{"key":"row-1","state":"done","digest":"37d5"}
{"key":"row-2","state":"dead","digest":"88c1"}
{"key":"row-3","sta`)
	for result, err := range tasks.ReadResults(file) {
		var torn *tasks.TornLineError
		switch {
		case errors.As(err, &torn):
			fmt.Println("cut the file at byte", torn.Offset)
		case err != nil:
			fmt.Println(err)
		default:
			fmt.Println(result.Key, result.State)
		}
	}
	// Output:
	// row-1 done
	// row-2 dead
	// cut the file at byte 94
}

func TestALineOfAnOlderVersionHasNoAmountAndNoHeaders(t *testing.T) {
	for _, line := range []string{
		`{"key":"row-1","state":"done","class":"ok","body":{"a":1}}`,
		`{"key":"row-1","state":"done","class":"ok","amount":null,"headers":null,"body":{"a":1}}`,
		`{"key":"row-1","state":"done","class":"ok","amount":null,"headers":{},"body":{"a":1}}`,
	} {
		var r tasks.Result
		if err := json.Unmarshal([]byte(line), &r); err != nil || r.Amount != "" || r.Headers != nil || string(r.Body) != `{"a":1}` {
			t.Errorf("%s: %+v, %v", line, r, err)
		}
	}
	for _, line := range []string{
		`{"key":"row-1","state":"done","amount":"five"}`,
		`{"key":"row-1","state":"done","headers":{"A":1}}`,
		`{"key":"row-1","state":"done","headers":[]}`,
	} {
		if err := json.Unmarshal([]byte(line), new(tasks.Result)); err == nil {
			t.Errorf("%s: read without an error", line)
		}
	}
}

func TestSetBaseURLChangesNothingElse(t *testing.T) {
	for line, want := range map[string]string{
		`{"key":"a","state":"done","base_url":"http://a","body":{"base_url":"http://a"}}` + "\r\n": `{"key":"a","state":"done","base_url":"http://b","body":{"base_url":"http://a"}}` + "\r\n",
		"\xef\xbb\xbf {\"body\":1.50, \"base_url\" : \"\" } \n":                                    "\xef\xbb\xbf {\"body\":1.50, \"base_url\" : \"http://b\" } \n",
		`{"key":"a","state":"done","body":{"base_url":"http://a"}}`:                                `{"key":"a","state":"done","body":{"base_url":"http://a"}}`,
		"\n": "\n", "": "", `{"key":"a","base_url":"http`: `{"key":"a","base_url":"http`,
	} {
		if got := string(tasks.SetBaseURL([]byte(line), "http://b")); got != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}
