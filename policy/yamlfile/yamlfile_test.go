package yamlfile_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/policy/yamlfile"
)

// values are what [read] finds in a file of every kind of value.
type values struct {
	text, any, scalar, word string
	whole                   int
	float                   float64
	flag                    bool
	wait, least             time.Duration
	list, keys              []string
	json                    string
	given                   yamlfile.Given
}

// read reads a file whose keys are named after the readers of their values.
func read(data string) (values, *yamlfile.File) {
	var v values
	f, root := yamlfile.Parse("f.yaml", "the file", []byte(data))
	v.given = root.Mapping(yamlfile.Fields{
		"text":   func(e yamlfile.Value) { v.text, _ = e.Text() },
		"any":    func(e yamlfile.Value) { v.any, _ = e.AnyText() },
		"scalar": func(e yamlfile.Value) { v.scalar, _ = e.Scalar() },
		"word":   func(e yamlfile.Value) { v.word, _ = yamlfile.OneOf(e, "keep", "drop") },
		"whole":  func(e yamlfile.Value) { v.whole, _ = e.Int(1, 64) },
		"float":  func(e yamlfile.Value) { v.float, _ = e.Float() },
		"flag":   func(e yamlfile.Value) { v.flag, _ = e.Bool() },
		"wait":   func(e yamlfile.Value) { v.wait, _ = e.Duration(false) },
		"least":  func(e yamlfile.Value) { v.least, _ = e.Duration(true) },
		"json": func(e yamlfile.Value) {
			text, _ := e.JSON()
			v.json = string(text)
		},
		"list": func(e yamlfile.Value) {
			e.NonEmptyList(func(item yamlfile.Value) {
				text, _ := item.Text()
				v.list = append(v.list, text)
			})
		},
		"keys": func(e yamlfile.Value) {
			e.Each(func(key string, value yamlfile.Value) { v.keys = append(v.keys, key+"@"+value.Path()) })
		},
	})
	return v, f
}

func TestValuesOfEveryKindAreRead(t *testing.T) {
	v, f := read(`
text: a b          # a comment
any: ""
scalar: 010
word: keep
whole: 64
float: 0.5
flag: true
wait: 1m30s
least: 0s
list: [a, "b"]
keys: {a: 1, "X Y": 2}
json: {n: 12345678901234567890.10, l: [true, null, "a\nb"]}
`)
	if err := f.Err(); err != nil {
		t.Fatal(err)
	}
	if v.text != "a b" || v.any != "" || v.scalar != "010" || v.word != "keep" || v.whole != 64 || v.float != 0.5 || !v.flag ||
		v.wait != 90*time.Second || v.least != 0 || !slices.Equal(v.list, []string{"a", "b"}) ||
		!slices.Equal(v.keys, []string{"a@keys.a", `X Y@keys."X Y"`}) || v.json != `{"n":12345678901234567890.10,"l":[true,null,"a\nb"]}` {
		t.Errorf("got %+v", v)
	}
	if v.given.Lacks("text") {
		t.Error("text is reported missing although it is given")
	}
}

func TestAnchorsAndAliasesAreRead(t *testing.T) {
	v, f := read("text: &x abc\nscalar: *x\nlist: &l [a]\nkeys: {k: *l}\n")
	if err := f.Err(); err != nil || v.scalar != "abc" || v.text != "abc" {
		t.Errorf("got %+v, %v", v, err)
	}
}

func TestEveryErrorNamesItsPlaceAndSaysWhatToWrite(t *testing.T) {
	for file, want := range map[string]string{
		"text: 5":                    "f.yaml:1:7: text must be a string, got a number; put it in quotes",
		"text:":                      "f.yaml:1:1: text has no value; write one, or remove the key",
		"text: ''":                   "f.yaml:1:7: text is empty; write a value, or remove the key",
		"text: [a]":                  "f.yaml:1:7: text must be a string, got a list",
		"text: !!str 5":              "f.yaml:1:7: text has a tag or a merge; write the value out, as a string",
		"text: *x":                   "f.yaml:1:7: no anchor &x is defined",
		"text: &x\n  *x":             "f.yaml:2:3: this alias refers to itself",
		"word: both":                 `f.yaml:1:7: word is "both"; write one of keep, drop`,
		"whole: 65":                  "f.yaml:1:8: whole is 65; write a number from 1 to 64",
		"whole: 1.5":                 "f.yaml:1:8: whole must be a whole number, got a number with a fraction",
		"whole:":                     "f.yaml:1:1: whole must be a whole number, got nothing",
		"float: many":                "f.yaml:1:8: float must be a number, got a string",
		"flag: yes":                  "f.yaml:1:7: flag must be true or false, got a string",
		"wait: 30":                   "f.yaml:1:7: wait is 30 without a unit; write one, as in 30s or 5m",
		"wait: soon":                 `f.yaml:1:7: wait is "soon", which is not a duration; write a number and a unit, as in 30s, 5m or 168h`,
		"wait: 0s":                   `f.yaml:1:7: wait is "0s"; write a duration above 0`,
		"least: -1s":                 `f.yaml:1:8: least is "-1s"; write a duration of 0s or more`,
		"list: a":                    "f.yaml:1:7: list must be a list, got a string",
		"list: []":                   "f.yaml:1:7: list is empty; name at least one value, or remove the key",
		"list:\n  - a\n  - 5":        "f.yaml:3:5: list[1] must be a string, got a number; put it in quotes",
		"keys: a":                    "f.yaml:1:7: keys must be a mapping of keys and values, got a string",
		"keys: {5: a}":               "f.yaml:1:8: a key of keys is not plain text; write a name (in quotes if it is a number), without anchors, tags and merges",
		"keys: {a: 1, a: 2}":         `f.yaml:1:14: key "a" appears twice, first in line 1; remove one of them`,
		"json: {a: *x}":              "f.yaml:1:11: json cannot be written as JSON here; write it as a string",
		"txt: a":                     `f.yaml:1:1: unknown key "txt"; did you mean "text"?`,
		"colour: a":                  `f.yaml:1:1: unknown key "colour"; known keys are any, flag, float, json, keys, least, list, scalar, text, wait, whole, word`,
		"- a":                        "f.yaml:1:1: the file must be a mapping of keys and values, got a list",
		"<<: {text: a}":              "f.yaml:1:1: a key of the file is not plain text; write a name (in quotes if it is a number), without anchors, tags and merges",
		"text: a\n---\ntext: b":      "f.yaml:3:1: a second document begins here; the file is a single document, so remove the ---",
		"text: a\x00":                "f.yaml:1:1: the file contains a zero byte, so it is not text; save it as UTF-8",
		"text: \xff":                 "f.yaml:1:1: the file is not UTF-8; save it as UTF-8",
		"redis: embedded:":           `f.yaml:1:8: this is not valid YAML: `,
		strings.Repeat("[", 201):     "f.yaml:1:1: more than 200 brackets are open at once",
		strings.Repeat("- ", 201):    "f.yaml:1:1: more than 200 lists begin on one line",
		strings.Repeat("#", 1<<20+1): "f.yaml:1:1: the file is larger than 1024 KiB",
	} {
		_, f := read(file)
		err := f.Err()
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.40q:\n got %v\nwant %s", file, err, want)
		}
	}
}

func TestAllErrorsAreReportedAtOnceInLineOrder(t *testing.T) {
	_, f := read("whole: 0\nlist: [5]\nflag: no\n")
	f.Add(yamlfile.Pos{File: "--redis"}.Errorf("is wrong"))
	f.Failf(yamlfile.Pos{File: "f.yaml", Line: 1, Column: 1}, "first")
	var all yamlfile.Errors
	if err := f.Err(); !errors.As(err, &all) || len(all) != 5 {
		t.Fatalf("got %v", err)
	}
	for i, want := range []string{"f.yaml:1:1: first", "f.yaml:1:8: whole", "f.yaml:2:8: list[0]", "f.yaml:3:7: flag", "--redis: is wrong"} {
		if !strings.HasPrefix(all[i].Error(), want) {
			t.Errorf("%d: got %s, want %s", i, all[i], want)
		}
	}
}

func TestAMisspelledKeyIsNotAlsoReportedMissing(t *testing.T) {
	v, _ := read("txet: a")
	if v.given.Lacks("text") || !v.given.Lacks("flag") {
		t.Errorf("got %+v", v.given)
	}
	if v, _ := read("5: a"); v.given.Lacks("flag") {
		t.Error("flag is reported missing although the key that cannot be read may be flag")
	}
}

func TestAnEmptyFileIsAnEmptyMapping(t *testing.T) {
	for _, data := range []string{"", "# only a comment\n", "---\n", "null"} {
		v, f := read(data)
		if err := f.Err(); err != nil || !v.given.Lacks("text") {
			t.Errorf("%q: got %v", data, err)
		}
	}
}

func TestAliasesThatExpandWithoutEndAreRefused(t *testing.T) {
	var w strings.Builder
	w.WriteString("a: &a [x]\n")
	for i := range 8 {
		fmt.Fprintf(&w, "%c: &%[1]c [%[2]s]\n", 'b'+i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c, ", 'a'+i), 20), ", "))
	}
	f, root := yamlfile.Parse("f.yaml", "the file", []byte(w.String()))
	var walk func(yamlfile.Value)
	walk = func(v yamlfile.Value) {
		if v.Kind() == yamlfile.KindList {
			v.List(walk)
		}
	}
	root.Each(func(_ string, v yamlfile.Value) { walk(v) })
	if err := f.Err(); err == nil || !strings.Contains(err.Error(), "follows more than 10000 aliases") {
		t.Errorf("got %.200v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("text: &a [*a]\njson: {a: [1]}"))
	f.Add([]byte("? {a: b}\n: - - -"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, file := read(string(data))
		for _, one := range file.Errors() {
			if one.Line < 1 || one.Column < 1 || one.Message == "" {
				t.Errorf("a mistake has no position or message: %#v", one)
			}
		}
	})
}
