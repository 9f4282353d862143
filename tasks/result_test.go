package tasks_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/records"
	"pgregory.net/rapid"
)

var doneResult = tasks.Result{
	Key: "row-1", ID: "1c17", Batch: "july", Upstream: "patsnap", Method: "GET", Path: "/search?q=<a>&b", State: tasks.StateDone, Class: "ok", Rule: "ok",
	HTTPStatus: 200, CorrelationID: "c-1", Attempts: 3, Parked: 2, FirstAt: *instant("2026-01-01T00:00:00Z"), FinishedAt: *instant("2026-01-01T00:00:05.25Z"),
	Digest: "37d5", Line: 7, Amount: "0.0500", Headers: map[string]string{"Location": "/jobs/7", "Link": "</a>; rel=\"next\""}, Meta: json.RawMessage(`{ "row" : 1.10 }`), Body: json.RawMessage("{\n \"id\": 12345678901234567890, \"p\": 1.10, \"s\": \"a\\nb <\" }"),
}

func TestAResultLineHasTheDocumentedForm(t *testing.T) {
	dead := tasks.Result{
		Key: "row-2", ID: "2", Batch: "july", Upstream: "patsnap", Method: "POST", Path: "/pay", State: tasks.StateDead, Class: "balance", Rule: "balance",
		HTTPStatus: 200, ErrorCode: "67200005", ErrorMessage: "Insufficient balance,\ncall failed!", UserMessage: "Please try again later.", Advice: "Top up.",
		CorrelationID: "c-2", Attempts: 1, FirstAt: *instant("2026-01-01T08:00:00+08:00"), FinishedAt: *instant("2026-01-01T00:00:01Z"), Digest: "d",
	}
	expired := tasks.Result{Key: "row-3", State: tasks.StateDead, Class: "expired", Method: "JOB", Path: "/invoice.send", FinishedAt: *instant("2026-01-01T00:00:01Z")}
	chatty := dead
	chatty.State, chatty.ErrorCode = tasks.StateCancelled, "1.0"
	for _, test := range []struct {
		result tasks.Result
		want   string
	}{
		{doneResult, `{"key":"row-1","id":"1c17","batch":"july","upstream":"patsnap","method":"GET","path":"/search?q=<a>&b","state":"done","class":"ok","rule":"ok","http_status":200,"error_code":null,"error_message":null,"user_message":null,"advice":null,"correlation_id":"c-1","attempts":3,"parked":2,"first_at":"2026-01-01T00:00:00Z","finished_at":"2026-01-01T00:00:05.25Z","digest":"37d5","line":7,"amount":0.0500,"headers":{"Link":"</a>; rel=\"next\"","Location":"/jobs/7"},"meta":{ "row" : 1.10 },"body":{"id":12345678901234567890,"p":1.10,"s":"a\nb <"}}`},
		{dead, `{"key":"row-2","id":"2","batch":"july","upstream":"patsnap","method":"POST","path":"/pay","state":"dead","class":"balance","rule":"balance","http_status":200,"error_code":67200005,"error_message":"Insufficient balance,\ncall failed!","user_message":"Please try again later.","advice":"Top up.","correlation_id":"c-2","attempts":1,"parked":0,"first_at":"2026-01-01T00:00:00Z","finished_at":"2026-01-01T00:00:01Z","digest":"d","line":null,"amount":null,"headers":{},"meta":null,"body":null}`},
		{expired, `{"key":"row-3","id":"","batch":"","upstream":"","method":"JOB","path":"/invoice.send","state":"dead","class":"expired","rule":null,"http_status":null,"error_code":null,"error_message":null,"user_message":null,"advice":null,"correlation_id":null,"attempts":0,"parked":0,"first_at":null,"finished_at":"2026-01-01T00:00:01Z","digest":"","line":null,"amount":null,"headers":{},"meta":null,"body":null}`},
		{chatty, `{"key":"row-2","id":"2","batch":"july","upstream":"patsnap","method":"POST","path":"/pay","state":"cancelled","class":"balance","rule":"balance","http_status":200,"error_code":1.0,"error_message":"Insufficient balance,\ncall failed!","user_message":null,"advice":null,"correlation_id":"c-2","attempts":1,"parked":0,"first_at":"2026-01-01T00:00:00Z","finished_at":"2026-01-01T00:00:01Z","digest":"d","line":null,"amount":null,"headers":{},"meta":null,"body":null}`},
	} {
		got, err := tasks.EncodeResult(nil, test.result)
		if err != nil || string(got) != test.want+"\n" {
			t.Errorf("got  %swant %s\n%v", got, test.want, err)
		}
	}
}

func TestAnEncodedResultIsAppended(t *testing.T) {
	got, err := tasks.EncodeResult([]byte("before"), doneResult)
	if err != nil || !bytes.HasPrefix(got, []byte(`before{"key":"row-1"`)) {
		t.Errorf("got %s, %v", got, err)
	}
	if _, err := tasks.EncodeResult(nil, tasks.Result{Key: "k", Body: json.RawMessage("{")}); err == nil {
		t.Error("a broken body was written")
	}
}

func TestABodyKeepsItsDigitsAndText(t *testing.T) {
	for _, test := range []struct{ data, contentType, want string }{
		{"", "application/json", ""},
		{"{\r\n \"id\": 12345678901234567890123, \"f\": 1.50, \"s\": \"a\\u0041 \\n\" }\n", "application/json", `{"id":12345678901234567890123,"f":1.50,"s":"a\u0041 \n"}`},
		{`{"b":1,"a":2,"b":3}`, "text/html", `{"b":1,"a":2,"b":3}`},
		{"\xef\xbb\xbf[1, 2]", "text/plain", `[1,2]`},
		{`17`, "application/json; charset=utf-8", `17`},
		{`17`, "application/problem+json", `17`},
		{`17`, "", `17`},
		{`17`, "text/plain", `"17"`},
		{`"x"`, "application/json", `"x"`},
		{`null`, "application/json", `null`},
		{`{"cut":`, "application/json", `"{\"cut\":"`},
		{"<html>\n\"é\"\u2028</html>", "text/html", "\"<html>\\n\\\"é\\\"\u2028</html>\""},
		{"a\x01b\x7f", "text/plain", "\"a\\u0001b\x7f\""},
		{" \n", "", `" \n"`},
		{"\x89PNG\x00", "image/png", `{"base64":"iVBORwA=","content_type":"image/png"}`},
		{"caf\xe9", "text/plain; charset=latin-1", `{"base64":"Y2Fm6Q==","content_type":"text/plain; charset=latin-1"}`},
		{"{\"a\":\"\xff\"}", "application/json", `{"base64":"eyJhIjoi/yJ9","content_type":"application/json"}`},
		{"a\x00b", "", `{"base64":"YQBi","content_type":""}`},
		{"\xff", "a\r\n\xffb", `{"base64":"/w==","content_type":"a\r\n` + "\ufffd" + `b"}`},
	} {
		if got := tasks.ResultBody([]byte(test.data), test.contentType); string(got) != test.want {
			t.Errorf("%q as %s:\n got %s\nwant %s", test.data, test.contentType, got, test.want)
		}
	}
}

func TestAnyAnswerBecomesOneLineAndCanBeReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.OneOf(rapid.SliceOf(rapid.Byte()), rapid.Map(rapid.String(), func(s string) []byte { return []byte(s) })).Draw(t, "data")
		contentType := rapid.SampledFrom([]string{"", "application/json", "text/plain", "x"}).Draw(t, "type")
		body := tasks.ResultBody(data, contentType)
		line, err := tasks.EncodeResult(nil, tasks.Result{Key: "k", State: tasks.StateDone, Body: body})
		if err != nil || bytes.Count(line, []byte("\n")) != 1 || !utf8.Valid(line) {
			t.Fatalf("got %q, %v", line, err)
		}
		var asBytes struct {
			Base64 []byte `json:"base64"`
		}
		var asText string
		switch {
		case len(data) == 0 && body == nil:
		case json.Valid(data):
		case json.Unmarshal(body, &asText) == nil && asText == string(data):
		case json.Unmarshal(body, &asBytes) == nil && bytes.Equal(asBytes.Base64, data):
		case bytes.HasPrefix(data, []byte("\xef\xbb\xbf")):
		default:
			t.Fatalf("%q is missing in %s", data, body)
		}
	})
}

func TestReadingAWrittenResultReturnsTheSameResult(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := func(name string) string { return rapid.String().Draw(t, name) }
		when := func(name string) time.Time {
			return time.Unix(rapid.Int64Range(0, 4e9).Draw(t, name), rapid.Int64Range(0, 999999999).Draw(t, name+" ns")).UTC()
		}
		want := tasks.Result{
			Key: "k" + text("key"), ID: text("id"), Batch: text("batch"), Upstream: text("upstream"), Method: text("method"), Path: text("path"),
			State: rapid.SampledFrom([]tasks.State{"dead", "dropped"}).Draw(t, "state"), Class: text("class"), Rule: text("rule"),
			HTTPStatus: rapid.IntRange(0, 999).Draw(t, "status"), ErrorCode: json.Number(rapid.SampledFrom([]string{"", "0", "68300008", "1.0", "007", "E12", "1e9", " 1"}).Draw(t, "code")),
			ErrorMessage: text("message"), UserMessage: text("user"), Advice: text("advice"), CorrelationID: text("correlation"),
			Attempts: rapid.Int().Draw(t, "attempts"), Parked: rapid.Int().Draw(t, "parked"), FirstAt: when("first"), FinishedAt: when("finished"), Digest: text("digest"),
			Amount:  json.Number(rapid.SampledFrom([]string{"", "0", "0.0500", "-1", "1e9"}).Draw(t, "amount")),
			Headers: rapid.SampledFrom([]map[string]string{nil, {"Location": text("location")}, {"Link": text("link"), text("name"): "x"}}).Draw(t, "headers"),
			Body:    tasks.ResultBody([]byte(text("body")), "text/plain"),
		}
		line, err := tasks.EncodeResult(nil, want)
		if err != nil {
			t.Fatal(err)
		}
		count := 0
		for got, err := range tasks.ReadResults(bytes.NewReader(line)) {
			if count++; err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("%s\n got %#v, %v\nwant %#v", line, got, err, want)
			}
		}
		if count != 1 {
			t.Fatalf("%d results in %q", count, line)
		}
		asJSON, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var back tasks.Result
		if err := json.Unmarshal(asJSON, &back); err != nil || back.ErrorMessage != want.ErrorMessage || back.Key != want.Key {
			t.Fatalf("json.Marshal and back: %s, %v", asJSON, err)
		}
	})
}

func TestDecodeBodyReadsABodyAsAType(t *testing.T) {
	type answer struct {
		ID json.Number `json:"id"`
	}
	if got, err := tasks.DecodeBody[answer](doneResult); err != nil || got.ID != "12345678901234567890" {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := tasks.DecodeBody[*answer](tasks.Result{}); err != nil || got != nil {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := tasks.DecodeBody[int](doneResult); err == nil {
		t.Error("an object was read as an int")
	}
}

func ExampleEncodeResult() {
	line, err := tasks.EncodeResult(nil, tasks.Result{
		Key: "row-1", State: tasks.StateDone, Class: "ok", HTTPStatus: 200, Attempts: 1,
		Body: tasks.ResultBody([]byte("{\n  \"id\": 12345678901234567890\n}"), "application/json"),
	})
	fmt.Printf("%s%v\n", line[bytes.Index(line, []byte(`"digest"`)):], err)
	// Output:
	// "digest":"","line":null,"amount":null,"headers":{},"meta":null,"body":{"id":12345678901234567890}}
	// <nil>
}

func ExampleResultBody() {
	fmt.Printf("%s\n", tasks.ResultBody([]byte(`{ "price": 1.10 }`), "text/html"))
	fmt.Printf("%s\n", tasks.ResultBody([]byte("<b>down</b>\n"), "text/html"))
	fmt.Printf("%s\n", tasks.ResultBody([]byte{0xff, 0xd8}, "image/jpeg"))
	// Output:
	// {"price":1.10}
	// "<b>down</b>\n"
	// {"base64":"/9g=","content_type":"image/jpeg"}
}

// FuzzResultOf reads records with any content, as another program may write them to
// Redis.
func FuzzResultOf(f *testing.F) {
	f.Add("key", "67200001", "message", "id-1", `{"v":1,"upstream":"q","method":"GET","path":"/a"}`, []byte(`{"a":1}`), "application/json")
	f.Add("\xff\x1b[2J", "1e999999999", "a\nb\u2028", "\x00", `{"v":1,"path":"\\u0000"}`, []byte("\xff\xfe"), "text/\xff\r\n")
	f.Add("", "-0", "", "", "", []byte("[[[["), "")
	f.Add("k", "007", "\xed\xa0\x80", "x", "{", []byte("\xef\xbb\xbf{}"), "application/problem+json; charset=\"")
	f.Fuzz(func(t *testing.T, key, code, message, id, content string, body []byte, bodyType string) {
		r := ledger.Record{
			ID: id, Queue: "q:high", Batch: key, Key: key, State: ledger.Dead, Content: []byte(content), Body: body, BodyType: bodyType, Hash: message,
			Ending: &ledger.Ending{Class: message, Code: code, Message: message, CorrelationID: id, UserMessage: message, Advice: id, Rule: key},
		}
		line, err := tasks.EncodeResult(nil, records.Result(r))
		if err != nil {
			t.Fatal(err)
		}
		text := bytes.TrimSuffix(line, []byte("\n"))
		if !utf8.Valid(text) || !json.Valid(text) || bytes.ContainsFunc(text, func(r rune) bool { return r < ' ' }) {
			t.Fatalf("wrote %q", line)
		}
		if key == "" {
			return // a line of a results file has one
		}
		for _, err := range tasks.ReadResults(bytes.NewReader(line)) {
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
		}
	})
}

func TestTheAmountIsTheNumberThatTheAPIWrote(t *testing.T) {
	for said, want := range map[string]string{
		"": "null", "0.05": "0.05", " 7 ": "7", "0.0500": "0.0500", "007": "7", "+1.5": "1.5", "-2": "-2", ".5": "0.5", "3.": "3", "0": "0", "00.10": "0.10",
		"1e-3": "1e-3", "12345678901234567890.123": "12345678901234567890.123",
		"five": "null", "$5": "null", "0.05 USD": "null", "1,5": "null", "NaN": "null", ".": "null", "--1": "null", "1 2": "null",
	} {
		line, err := tasks.EncodeResult(nil, records.Result(ledger.Record{Key: "k", State: ledger.Done, Ending: &ledger.Ending{Amount: said}}))
		if err != nil || !strings.Contains(string(line), `"amount":`+want+`,"headers":{}`) {
			t.Errorf("%q: got %s, %v", said, line, err)
		}
	}
}

func TestABodyThatCannotBeDecodedKeepsItsBytesAndItsCoding(t *testing.T) {
	record := ledger.Record{
		Key: "k", State: ledger.Dead, Body: []byte("\x1f\x8b\x08"), BodyType: "application/json", Ending: &ledger.Ending{BodyEncoding: "gzip"},
	}
	const want = `{"base64":"H4sI","content_type":"application/json","content_encoding":"gzip"}`
	if got := records.Result(record).Body; string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
	// Even if the bytes look like text.
	record.Body = []byte(`{"a":1}`)
	if got := records.Result(record).Body; !bytes.HasPrefix(got, []byte(`{"base64":"eyJhIjoxfQ=="`)) {
		t.Errorf("got %s", got)
	}
	record.Body = nil
	if got := records.Result(record).Body; got != nil {
		t.Errorf("got %s, want none", got)
	}
}
