package batchreport

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/worker/jsonform"
)

// hostile is a text that would break out of every place where it is not escaped.
const hostile = `"'></style></title></svg><script>alert(1)</script><img src=x onerror=alert(2)>{{.}}&#x3c;b` + "\u2028\x00\xff"

// hostileReport has that text wherever an API, a caller or an operator can put text.
func hostileReport() *Report {
	r := &Report{
		Batch: hostile, MadeAt: second(100), CreatedAt: noon, Upstreams: []Upstream{{Name: hostile, BaseURL: "javascript:" + hostile, Calls: 3}, {Name: "b"}},
		Calls:   Calls{Accepted: 3, Open: 1, Done: 1, Dead: 1, Redriven: 1, Verified: 1, PutBack: 2},
		Asked:   []Asked{{Upstream: hostile, Endpoint: hostile, Calls: 2}},
		Money:   []Money{{Upstream: hostile, Currency: hostile, Billed: hostile, Counted: hostile, PerResult: hostile}},
		Unknown: []string{hostile},
		Requests: Requests{
			Sent: 4, Results: 1, Wasted: 3, ByUse: []UseCount{{UseResult, 1}, {UseRetried, 3}}, ByAnswer: []Answer{{HTTPStatus: 200, Requests: 1}, {Without: hostile, Requests: 3}},
			Kinds:   []Kind{{Use: UseRetried, Requests: 3, Class: hostile, Rule: hostile, Code: jsonform.Code(hostile), Transport: hostile, Key: hostile}},
			PerCall: []PerCall{{1, false, 2}, {12, true, 1}},
		},
		Causes: []Cause{{
			Count: 1, State: "dead", Class: hostile, Rule: hostile, Code: jsonform.Code(hostile), UserMessage: hostile, Advice: hostile,
			Examples: []Example{{Key: hostile, ID: hostile, Upstream: hostile, Method: hostile, Path: hostile, Message: hostile, CorrelationID: hostile}},
		}},
		Time: Time{
			Seconds: 100, Held: 10, ByReason: []HeldFor{{hostile, hostile, 1, 10}},
			Holds: []Hold{{Circuit: hostile, From: second(10), Seconds: 10, Reason: hostile, Code: jsonform.Code(hostile), Why: hostile, CorrelationID: hostile, Who: hostile}},
		},
		Timeline: Timeline{From: noon, Step: 1, Steps: make([]Step, steps)},
	}
	r.Timeline.Steps[3] = Step{Done: 1, Dead: 1, Refused: 2}
	return r
}

func write(t *testing.T, r *Report) string {
	t.Helper()
	var out bytes.Buffer
	if err := WriteHTML(&out, r); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// elements reads the page as XML, which is stricter than HTML: each element is closed, and
// each attribute is quoted. It counts the elements.
func elements(t *testing.T, page string) map[string]int {
	t.Helper()
	page = regexp.MustCompile(`<meta[^>]*>|<!DOCTYPE html>`).ReplaceAllString(page, "")
	d := xml.NewDecoder(strings.NewReader(strings.ToValidUTF8(page, "?")))
	d.Entity = xml.HTMLEntity
	counts := map[string]int{}
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return counts
		}
		if err != nil {
			t.Fatal(err)
		}
		element, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		counts[element.Name.Local]++
		for _, a := range element.Attr {
			if name := a.Name.Local; strings.HasPrefix(name, "on") || name == "src" || name == "href" || name == "style" {
				t.Errorf("<%s> has %s=%q", element.Name.Local, name, a.Value)
			}
		}
	}
}

func TestHostileTextsStayTexts(t *testing.T) {
	counts := elements(t, write(t, hostileReport()))
	for _, name := range []string{"script", "img", "link", "iframe", "a"} {
		if counts[name] > 0 {
			t.Errorf("the page has %d elements %s", counts[name], name)
		}
	}
	if counts["section"] != 7 || counts["style"] != 1 || counts["html"] != 1 {
		t.Errorf("the page has %v", counts)
	}
}

func TestAReportOfNothingIsAPageToo(t *testing.T) {
	counts := elements(t, write(t, &Report{Batch: "b", Timeline: Timeline{From: noon, Step: 1, Steps: make([]Step, steps)}}))
	if counts["section"] != 5 {
		t.Errorf("the page has %v", counts)
	}
}

func TestThePageNeedsNoOtherFileAndItsSizeIsBounded(t *testing.T) {
	r := hostileReport()
	for range 1000 {
		r.Asked = append(r.Asked, r.Asked[0])
		r.Requests.Kinds = append(r.Requests.Kinds, r.Requests.Kinds[0])
		r.Causes = append(r.Causes, r.Causes[0])
		r.Time.Holds = append(r.Time.Holds, r.Time.Holds[0])
	}
	r.Time.Holds = r.Time.Holds[:maxHolds]
	for i := range r.Timeline.Steps {
		r.Timeline.Steps[i] = Step{Done: 1, Dead: 1, Dropped: 1, Cancelled: 1, Refused: 1, Retried: 1}
	}
	page := write(t, r)
	if len(page) > 500_000 {
		t.Errorf("the page has %d bytes", len(page))
	}
	for _, pattern := range []string{`https?://`, `@import`, `url\(`, `<link`, `<script`} {
		if found := regexp.MustCompile(pattern).FindString(page); found != "" {
			t.Errorf("the page has %q", found)
		}
	}
}

func TestTheReportHasTheColoursOfTheAdminPage(t *testing.T) {
	admin, err := os.ReadFile("../admin/page/assets/app.css")
	if err != nil {
		t.Fatal(err)
	}
	own, err := files.ReadFile("report.css")
	if err != nil {
		t.Fatal(err)
	}
	colours := regexp.MustCompile(`--[a-z-]+: [^;]+;`)
	want, got := colours.FindAllString(string(admin), -1), colours.FindAllString(string(own), -1)
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAnOpenBatchIsCalledOpen(t *testing.T) {
	if page := write(t, hostileReport()); !strings.Contains(page, "<b>The batch is still open:</b> 1 call has not ended") {
		t.Error("the page does not say that the batch is open")
	}
	ended := hostileReport()
	ended.Calls.Open, ended.EndedAt = 0, second(90)
	if page := write(t, ended); !strings.Contains(page, "All 3 calls have ended, the last one <time") {
		t.Error("the page does not say that the batch has ended")
	}
}
