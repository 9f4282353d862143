package policy

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/seed-2903acc3/callq/policy/yamlfile"
)

// everyKey is a policy file that uses every key.
const everyKey = `version: 1
name: my-api
extends: patsnap                  # its rules follow these
backoffs:
  standard: {floor: 1s, base: 2s, cap: 10m, attempts: 6, max_age: 24h}     # attempts include the first send
holds:
  quota: {sources: [retry-after, ratelimit-reset, calendar, ladder], max: 25h,
          calendar: {cron: "0 0 * * *", timezone: UTC}, ladder: [1m, 5m, 15m, 1h]}
breaker: {window: 30s, min_calls: 20, ratio: 0.5}
upstream:
  {base_url: "https://api.example.com", idempotent: ["GET *", "POST /search/*"], idempotency_header: Idempotency-Key, headers: {}}
rules:                            # optional
  - id: vendor-maintenance
    match: {code: [123, none], http: ["5xx", "500-599", 429], transport: [timeout_before_send], body: [html, empty, malformed, cut],
            status_flag: "false", message: "(?i)maintenance", endpoint: ["POST /upload/*"],
            header: {X-Reason: "regexp"}, idempotent: true}      # fields AND, values in a list OR
    class: transient
    job: retry                    # succeed | retry | park | dead_letter | drop
    refresh: false                # try a fresh token once first
    backoff: standard
    circuit: {effect: open, scope: account, hold: quota, after: 1, max_probes: 0}   # effect: none | count | open
    message: "The service is down for maintenance; we will try again at {resumes_at}."   # for end users, no raw codes
    advice: "Nothing to do."      # for the operator
`

func TestAFileWithEveryKeyLoadsAndLintsClean(t *testing.T) {
	p := parse(t, everyKey)
	if p.Name() != "my-api" || p.Rules()[0] != "vendor-maintenance" || p.Rules()[1] != "ok" {
		t.Errorf("%s: got %v", p.Name(), p.Rules())
	}
	findings, err := Lint(fstest.MapFS{"my.yaml": {Data: []byte(everyKey)}}, "my.yaml")
	if err != nil || len(findings) != 0 {
		t.Errorf("got %v, %v", findings, err)
	}
}

func TestEachErrorNamesItsPlace(t *testing.T) {
	for name, c := range map[string]struct{ file, want string }{
		"empty":              {"", "my.yaml:1:1: the policy file is empty"},
		"not YAML":           {"a: [1", "my.yaml:1:4: "},
		"two documents":      {"version: 1\n---\nversion: 1\n", "my.yaml:3:1: a second document begins here"},
		"not a mapping":      {"- a", "my.yaml:1:1: the policy file must be a mapping of keys and values, got a list"},
		"unknown key":        {"version: 1\nruels: []\n", `my.yaml:2:1: unknown key "ruels"`},
		"merge key":          {"<<: {version: 1}", "my.yaml:1:1: a key of the policy file is not plain text"},
		"double key":         {"version: 1\nversion: 1\n", `my.yaml:2:1: key "version" appears twice, first in line 1`},
		"version":            {"version: 2", "my.yaml:1:10: version is 2"},
		"wrong type":         {"version: one", "my.yaml:1:10: version must be a whole number, got a string"},
		"name":               {"name: 5", "my.yaml:1:7: name must be a string, got a number"},
		"breaker":            {"breaker: {ratio: 1.5}", "my.yaml:1:18: breaker.ratio is 1.5; write a number above 0 and at most 1"},
		"window":             {"breaker: {window: 0s}", `my.yaml:1:19: breaker.window is "0s"`},
		"duration":           {"backoffs: {standard: {floor: 5}}", "my.yaml:1:30: backoffs.standard.floor is 5 without a unit"},
		"negative duration":  {"backoffs: {standard: {floor: -5s}}", `my.yaml:1:30: backoffs.standard.floor is "-5s"`},
		"attempts":           {"backoffs: {standard: {attempts: 0}}", "my.yaml:1:33: backoffs.standard.attempts is 0"},
		"source":             {"holds: {quota: {sources: [retry]}}", `my.yaml:1:27: holds.quota.sources[0] is "retry"`},
		"no rung":            {"holds: {quota: {ladder: []}}", "my.yaml:1:25: holds.quota.ladder is empty"},
		"cron":               {"holds: {quota: {calendar: {cron: every day}}}", `my.yaml:1:34: holds.quota.calendar.cron: "every day" has 2 fields instead of 5`},
		"cron never":         {"holds: {quota: {calendar: {cron: 0 0 30 2 *}}}", `my.yaml:1:34: holds.quota.calendar.cron: "0 0 30 2 *" names a date that does not exist`},
		"cron zone":          {"holds: {quota: {calendar: {cron: TZ=UTC}}}", `my.yaml:1:34: holds.quota.calendar.cron: "TZ=UTC" names a time zone`},
		"timezone":           {"holds: {quota: {calendar: {timezone: Mars/Olympus}}}", `my.yaml:1:38: holds.quota.calendar.timezone: "Mars/Olympus" is not a known time zone`},
		"local time":         {"holds: {quota: {calendar: {timezone: Local}}}", `my.yaml:1:38: holds.quota.calendar.timezone: "Local" is not a known time zone`},
		"no id":              {"rules:\n  - job: drop", "my.yaml:2:5: rules[0] has no id"},
		"same id":            {"rules:\n  - {id: a, match: {http: [400]}}\n  - {id: a, match: {http: [401]}}", `my.yaml:3:5: rules[1] has the id "a", like an earlier rule of this file`},
		"job":                {"rules: [{id: a, match: {http: [400]}, job: retyr}]", `my.yaml:1:44: rules[0].job is "retyr"`},
		"class":              {"rules: [{id: a, class: fine}]", `my.yaml:1:24: rules[0].class is "fine"`},
		"transport":          {"rules: [{id: a, match: {transport: [dsn]}}]", `my.yaml:1:37: rules[0].match.transport[0] is "dsn"`},
		"body":               {"rules: [{id: a, match: {body: html}}]", "my.yaml:1:31: rules[0].match.body must be a list, got a string"},
		"status_flag":        {"rules: [{id: a, match: {status_flag: no}}]", `my.yaml:1:38: rules[0].match.status_flag is "no"`},
		"http":               {"rules: [{id: a, match: {http: [200, 600]}}]", `my.yaml:1:37: rules[0].match.http[1] is "600"`},
		"http range":         {"rules: [{id: a, match: {http: [599-500]}}]", `my.yaml:1:32: rules[0].match.http[0] is "599-500"`},
		"http empty":         {"rules: [{id: a, match: {http: []}}]", "my.yaml:1:31: rules[0].match.http is empty"},
		"code":               {"rules: [{id: a, match: {code: [true]}}]", `my.yaml:1:32: rules[0].match.code[0] is true; put it in quotes`},
		"code with zeros":    {"rules: [{id: a, match: {code: [010]}}]", "my.yaml:1:32: rules[0].match.code[0] is 010"},
		"code in hex":        {"rules: [{id: a, match: {code: [0x10]}}]", `my.yaml:1:32: rules[0].match.code[0] is 0x10; write it in decimal digits, or in quotes`},
		"endpoint":           {"rules: [{id: a, match: {endpoint: [/upload]}}]", `my.yaml:1:36: rules[0].match.endpoint[0]: "/upload" is not "METHOD /path/*"`},
		"endpoint method":    {"rules: [{id: a, match: {endpoint: [get /upload]}}]", `my.yaml:1:36: rules[0].match.endpoint[0]: "get /upload" has a method that is not in upper case`},
		"endpoint query":     {"rules: [{id: a, match: {endpoint: ['GET /a?b']}}]", `my.yaml:1:36: rules[0].match.endpoint[0]: "GET /a?b" has a space, a query or a fragment`},
		"message":            {"rules: [{id: a, match: {message: '('}}]", "my.yaml:1:34: rules[0].match.message is not a regular expression"},
		"header":             {"rules: [{id: a, match: {header: {X: '['}}}]", "my.yaml:1:37: rules[0].match.header.X is not a regular expression"},
		"header name":        {"rules: [{id: a, match: {header: {'X Y': a}}}]", `my.yaml:1:34: rules[0].match.header."X Y" is not a header name`},
		"no header":          {"rules: [{id: a, match: {header: {}}}]", "my.yaml:1:33: rules[0].match.header is empty"},
		"idempotent":         {"rules: [{id: a, match: {idempotent: maybe}}]", "my.yaml:1:37: rules[0].match.idempotent must be true or false, got a string"},
		"no such backoff":    {"rules: [{id: a, match: {http: [400]}, backoff: brisk}]", `my.yaml:1:48: no backoff is called "brisk"; there are: brief, standard`},
		"no such hold":       {"rules: [{id: a, match: {http: [400]}, circuit: {hold: long}}]", `my.yaml:1:55: no hold is called "long"; there are: credential`},
		"park without hold":  {"rules: [{id: a, match: {http: [400]}, job: park, circuit: {effect: count}}]", "my.yaml:1:59: rules[0].circuit must have the effect open, because the job is park"},
		"unreachable":        {"rules:\n  - {id: a, match: {http: [5xx]}}\n  - {id: b, match: {http: [503], code: [none]}}", `my.yaml:3:5: rule "b" is never reached: rule "a" on line 2`},
		"last rule":          {"rules:\n  - {id: anything-else, match: {http: [500]}}", `my.yaml:2:5: rule "anything-else" replaces the last rule`},
		"preset":             {"extends: patsnip", `my.yaml:1:10: no preset is called "patsnip"; there are: ` + strings.Join(Presets(), ", ")},
		"extends nothing":    {"extends: ''", "my.yaml:1:10: extends is empty"},
		"extends a file":     {"extends: ./other.yaml", "my.yaml:1:10: files cannot be extended here"},
		"unknown alias":      {"name: *x", "my.yaml:1:7: no anchor &x is defined"},
		"circular alias":     {"name: &x\n  *x", "my.yaml:2:3: this alias refers to itself"},
		"tag":                {"name: !!str 5", "my.yaml:1:7: name has a tag or a merge"},
		"too many brackets":  {strings.Repeat("[", 201), "my.yaml:1:1: more than 200 brackets are open at once"},
		"too many lists":     {strings.Repeat("- ", 201) + "a", "my.yaml:1:1: more than 200 lists begin on one line"},
		"too large":          {strings.Repeat("#", 1<<20+1), "my.yaml:1:1: the file is larger"},
		"not UTF-8":          {"name: \xff", "my.yaml:1:1: the file is not UTF-8"},
		"list for a mapping": {"backoffs: {standard: [1s]}", "my.yaml:1:22: backoffs.standard must be a mapping of keys and values, got a list"},
	} {
		_, err := Parse("my.yaml", []byte(c.file))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s:\n got %v\nwant %s", name, err, c.want)
			continue
		}
		var finding *yamlfile.Error
		if !errors.As(err, &finding) || finding.File != "my.yaml" || finding.Line == 0 || finding.Column == 0 {
			t.Errorf("%s: the finding has no place: %#v", name, finding)
		}
	}
}

func TestAllFindingsAreReportedAtOnce(t *testing.T) {
	_, err := Parse("my.yaml", []byte("version: 3\nbreaker: {ratio: 0}\nrules:\n  - {id: a, job: x, class: y}\n  - {id: b, colour: red}\n"))
	var findings yamlfile.Errors
	if !errors.As(err, &findings) || len(findings) != 5 {
		t.Fatalf("got %v", err)
	}
	lines := []int{findings[0].Line, findings[1].Line, findings[2].Line, findings[3].Line, findings[4].Line}
	if !slices.Equal(lines, []int{1, 2, 4, 4, 5}) {
		t.Errorf("got findings on lines %v", lines)
	}
}

func TestLeftOutKeysHaveTheirDefaults(t *testing.T) {
	p := parse(t, `
backoffs: {standard: {attempts: 2}, mine: {}}
holds: {quota: {ladder: [100ms]}, mine: {}}
rules:
  - {id: retried, match: {http: [500]}, backoff: mine}
  - {id: parked, match: {http: [501]}, job: park}
  - {id: dead, match: {http: [502]}, job: dead_letter}
  - {id: done, match: {http: [503]}, job: succeed}
  - {id: dropped, match: {http: [504]}, job: drop}
  - {id: opened, match: {http: [505]}, job: dead_letter, circuit: {}}
`)
	if b, _ := p.Backoff("standard"); !reflect.DeepEqual(b, Backoff{Floor: time.Second, Base: 2 * time.Second, Cap: 10 * time.Minute, Attempts: 2, MaxAge: 24 * time.Hour, Sources: []Source{SourceRetryAfter}}) {
		t.Errorf("standard: %+v", b)
	}
	if h, _ := p.Hold("quota"); h.Max != 25*time.Hour || !slices.Equal(h.Sources, holdSources) || h.Calendar != nil ||
		!slices.Equal(h.Ladder, []time.Duration{100 * time.Millisecond}) {
		t.Errorf("quota: %+v", h)
	}
	if h, _ := p.Hold("mine"); len(h.Ladder) != 4 || h.Ladder[3] != time.Hour {
		t.Errorf("mine: %+v", h)
	}
	account := func(c Circuit) Circuit { c.Scope = ScopeAccount; return c }
	for status, want := range map[int]Decision{
		500: {Rule: "retried", Class: ClassTransient, Action: ActionRetry, Backoff: "mine", Circuit: account(Circuit{Effect: EffectCount})},
		501: {Rule: "parked", Class: ClassQuota, Action: ActionPark, Circuit: account(Circuit{Effect: EffectOpen, Hold: "quota", After: 1})},
		502: {Rule: "dead", Class: ClassUnknown, Action: ActionDeadLetter, Circuit: account(Circuit{Effect: EffectNone, Success: true})},
		503: {Rule: "done", Class: ClassOK, Action: ActionSucceed, Circuit: account(Circuit{Effect: EffectNone, Success: true})},
		504: {Rule: "dropped", Class: ClassBadParameter, Action: ActionDrop, Circuit: account(Circuit{Effect: EffectNone, Success: true})},
		505: {Rule: "opened", Class: ClassUnknown, Action: ActionDeadLetter, Circuit: account(Circuit{Effect: EffectOpen, Hold: "quota", After: 1})},
		506: {Rule: "anything-else", Class: ClassUnknown, Action: ActionRetry, Backoff: "brief", Circuit: account(Circuit{Effect: EffectCount})},
	} {
		got := p.Decide(Outcome{Status: status}, Attempt{N: 1})
		if got.Message == "" || got.Advice == "" {
			t.Errorf("%d: the rule has no message or no advice", status)
		}
		got.Message, got.Advice = "", ""
		if got != want {
			t.Errorf("%d:\n got %+v\nwant %+v", status, got, want)
		}
	}
}

func TestARuleWithTheSameIDReplacesTheBaseRuleInPlace(t *testing.T) {
	base := preset(t, "patsnap")
	p := parse(t, `extends: patsnap
rules:
  - {id: service-fault, match: {code: [68300008]}, job: drop}
  - {id: mine, match: {code: [68300004]}, job: park}
`)
	want := append([]string{"mine"}, base.Rules()...)
	if !slices.Equal(p.Rules(), want) {
		t.Errorf("the rules are %v", p.Rules())
	}
	if d := p.Decide(Outcome{Status: 200, Code: "68300008"}, Attempt{}); d.Action != ActionDrop {
		t.Errorf("replaced: %+v", d)
	}
	if d := p.Decide(Outcome{Status: 200, Code: "68300005"}, Attempt{}); d.Rule != "anything-else" {
		t.Errorf("a code that no rule names any more: got %+v", d)
	}
	if d := base.Decide(Outcome{Status: 200, Code: "68300008"}, Attempt{}); d.Action != ActionRetry {
		t.Errorf("the base changed: %+v", d)
	}
}

func TestAReplacedLastRuleStaysLast(t *testing.T) {
	p := parse(t, "rules:\n  - {id: anything-else, job: dead_letter}\n  - {id: a, match: {http: [500]}}\n")
	if !slices.Equal(p.Rules(), []string{"a", "anything-else"}) {
		t.Errorf("the rules are %v", p.Rules())
	}
}

func TestABackoffWithTheSameNameAppliesToTheBaseRules(t *testing.T) {
	p := parse(t, "extends: patsnap\nbackoffs: {brief: {attempts: 1}}\n")
	if d := p.Decide(Outcome{Status: 200, Code: "68300006"}, Attempt{N: 1}); !d.Exhausted {
		t.Errorf("got %+v", d)
	}
}

func TestFilesExtendFiles(t *testing.T) {
	fsys := fstest.MapFS{
		"a/my.yaml":     {Data: []byte("extends: ../b/base.yaml\nrules:\n  - {id: mine, match: {http: [418]}, job: drop}\n")},
		"b/base.yaml":   {Data: []byte("name: base\nextends: patsnap\nbreaker: {min_calls: 7}\nholds: {night: {ladder: [8h]}}\n")},
		"loop/a.yaml":   {Data: []byte("extends: ./b.yaml\n")},
		"loop/b.yaml":   {Data: []byte("name: b\nextends: a.yaml\n")},
		"gone.yaml":     {Data: []byte("extends: nosuch.yaml\nversion: 2\n")},
		"bad/my.yaml":   {Data: []byte("extends: base.yaml\nversion: 9\n")},
		"bad/base.yaml": {Data: []byte("name: base\nrules: [{id: a, job: x}]\n")},
	}
	p, err := Load(fsys, "a/my.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if p.Name() != "my" || p.Breaker() != (Breaker{30 * time.Second, 7, 0.5}) || p.Rules()[0] != "mine" {
		t.Errorf("%s %+v %v", p.Name(), p.Breaker(), p.Rules())
	}
	if _, ok := p.Hold("night"); !ok {
		t.Error("the base's hold is missing")
	}
	for name, want := range map[string]string{
		"loop/a.yaml": "loop/b.yaml:2:10: loop/a.yaml extends itself, through loop/b.yaml",
		"gone.yaml":   "gone.yaml:1:10: the file that it extends cannot be read: ",
		"bad/my.yaml": `bad/base.yaml:2:22: rules[0].job is "x"`,
	} {
		if _, err := Load(fsys, name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
	}
	if _, err := Load(fsys, "nosuch.yaml"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestFilesOnDiskExtendByRelativeAndAbsolutePath(t *testing.T) {
	dir := t.TempDir()
	base := filepath.Join(dir, "base.yml")
	write := func(name, data string) string {
		if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	write(base, "breaker: {min_calls: 3}\n")
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, extends := range map[string]string{"relative.yaml": "../base.yml", "absolute.yaml": base} {
		file := write(filepath.Join(dir, "sub", name), "extends: "+extends+"\n")
		p, err := LoadFile(file)
		if err != nil || p.Breaker().MinCalls != 3 {
			t.Errorf("%s: got %v", name, err)
		}
		if findings, err := LintFile(file); err != nil || len(findings) != 0 {
			t.Errorf("%s: %v %v", name, findings, err)
		}
	}
	cases := write(filepath.Join(dir, "sub", "c.yaml"),
		"policy: ./relative.yaml\ncases:\n  - name: a\n    response: {transport: dns}\n    expect: {class: unknown}\n")
	c, err := LoadCasesFile(cases)
	if err != nil {
		t.Fatal(err)
	}
	if r := RunCases(c); !r[0].Passed() {
		t.Errorf("%v", r[0].Problems)
	}
}

func TestLintAlsoReportsWarnings(t *testing.T) {
	fsys := fstest.MapFS{"my.yaml": {Data: []byte(`extends: http
holds: {night: {sources: [ladder], calendar: {cron: "0 0 * * *"}}}
rules:
  - id: coded
    message: "It failed with 4711."
    match: {code: [4711]}
`)}}
	if _, err := Load(fsys, "my.yaml"); err != nil {
		t.Fatalf("the policy does not load: %v", err)
	}
	findings, err := Lint(fsys, "my.yaml")
	if err != nil || len(findings) != 3 || findings[0].Line != 2 || findings[1].Line != 4 || findings[2].Line != 5 {
		t.Errorf("got %v, %v", findings, err)
	}
	if _, err := Lint(fsys, "nosuch.yaml"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestAnchorsAreRead(t *testing.T) {
	p := parse(t, `rules:
  - {id: a, match: {http: [500]}, circuit: &open {hold: rate, after: 2}, job: dead_letter}
  - {id: b, match: {http: [501]}, circuit: *open, job: dead_letter}
`)
	if d := p.Decide(Outcome{Status: 501}, Attempt{}); d.Circuit.Hold != "rate" || d.Circuit.After != 2 {
		t.Errorf("got %+v", d.Circuit)
	}
}

func TestTheErrorForAnUnknownPresetListsThePresets(t *testing.T) {
	if _, err := Preset("common"); err == nil || !strings.HasSuffix(err.Error(), "there are: "+strings.Join(Presets(), ", ")) {
		t.Errorf("got %v", err)
	}
	if _, err := PresetCases("nosuch"); err == nil {
		t.Error("an unknown preset has cases")
	}
	if IsPath("patsnap") || !IsPath("a/b") || !IsPath("b.yml") || !IsPath("b.yaml") {
		t.Error("IsPath does not distinguish paths from presets")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(everyKey))
	f.Add([]byte("a: [1"))
	f.Add([]byte("rules: &a [*a]"))
	f.Add([]byte("? {a: b}\n: - - -"))
	f.Add([]byte("name: |\n  x\n---\n..."))
	for _, name := range []string{common, "http", "patsnap"} {
		data, err := presetFiles.ReadFile("presets/" + name + ".yaml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse("my.yaml", data)
		if err != nil {
			var findings yamlfile.Errors
			if !errors.As(err, &findings) {
				t.Fatalf("the error is not a list of findings: %v", err)
			}
			return
		}
		p.Decide(Outcome{}, Attempt{})
		again, err := Parse("again.yaml", p.YAML())
		if err != nil {
			t.Fatalf("%v\n%s", err, p.YAML())
		}
		if one, two := withoutSource(p.YAML()), withoutSource(again.YAML()); one != two {
			t.Fatalf("printed as\n%s\nthe second time as\n%s", one, two)
		}
	})
}

// withoutSource removes the comments, which name files.
func withoutSource(shown []byte) string {
	var kept []string
	for line := range strings.Lines(string(shown)) {
		if !strings.HasPrefix(line, "  #") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

func TestAPrintedPolicyParsesToTheSamePolicy(t *testing.T) {
	for _, p := range []*Policy{preset(t, "http"), preset(t, "patsnap"), parse(t, everyKey), parse(t, "name: 'a: \"b\"'\n"),
		parse(t, "extends: http\nrules: [{id: all, job: drop}]\n")} {
		again, err := Parse("again.yaml", p.YAML())
		if err != nil {
			t.Fatalf("%v\n%s", err, p.YAML())
		}
		if one, two := withoutSource(p.YAML()), withoutSource(again.YAML()); one != two || again.Name() != p.Name() {
			t.Errorf("printed as\n%s\nthe second time as\n%s", one, two)
		}
	}
}

func TestYAMLSaysWhereRulesComeFromAndWhichAreNeverReached(t *testing.T) {
	shown := string(parse(t, "extends: http\nrules: [{id: teapot, match: {http: [4xx]}, job: drop}]\n").YAML())
	for _, want := range []string{"# from my.yaml\n", "# from http (preset)\n", "# from common (preset)\n",
		`  # "other-refusal": never reached, rule "teapot" matches everything that it matches`, "max_age: 24h, sources: [retry-after]}", "ladder: [1s, 2s, 5s, 15s, 1m]"} {
		if !strings.Contains(shown, want) {
			t.Errorf("%q is missing:\n%s", want, shown)
		}
	}
}
