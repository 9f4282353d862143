package callsfile

import (
	"bytes"
	"encoding/csv"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// separators are the separators of tables and their names.
var separators = []struct {
	comma rune
	name  string
}{
	{',', "commas"}, {';', "semicolons"}, {'\t', "tabs"}, {'|', "vertical bars"},
}

// textColumns and jsonColumns are the fields of a call that are set from a column with the same name. All other columns become
// parameters of the query, or are written to meta if there is a column query.
var (
	textColumns = []string{"key", "upstream", "method", "path", "priority", "not_before", "deadline"}
	jsonColumns = []string{"query", "headers", "body", "meta"}
)

// maxRows is how many rows of a table are examined.
const maxRows = 20

// detectTable recognizes a table by rows with the same number of cells.
func detectTable(text []byte, lines [][]byte, whole bool) *Finding {
	if !whole {
		text = text[:bytes.LastIndexByte(text, '\n')+1]
	}
	// Excel may write a first line with the separator.
	announced := len(lines) > 0 && bytes.HasPrefix(bytes.ToLower(lines[0]), []byte("sep="))
	if announced {
		_, text, _ = bytes.Cut(text, []byte("\n"))
	}
	var header []string
	called, comma := "", ','
	for _, s := range separators {
		if row := headerOf(text, s.comma); len(row) > max(len(header), 1) {
			header, called, comma = row, s.name, s.comma
		}
	}
	if header == nil {
		if header = columnOf(text); header == nil {
			return nil
		}
		called = "one column"
	} else {
		called = "separated by " + called
	}
	convert := tableCommand(header, comma, validUTF8(text, whole))
	if announced {
		convert = "tail -n +2 {in} | " + strings.Replace(convert, "{in}", "/dev/stdin", 1)
	}
	found := &Finding{Kind: Table, what: "CSV (" + called + "), not one JSON object a line", convert: convert}
	if strings.Contains(convert, "/PATH") {
		found.note = "with the API's path for /PATH"
	}
	return found
}

// validUTF8 reports whether text is valid UTF-8. If it is only the head of a file, its last character may be incomplete.
func validUTF8(text []byte, whole bool) bool {
	for cut := 0; cut < utf8.UTFMax && !whole && len(text) > 0 && !utf8.Valid(text); cut++ {
		text = text[:len(text)-1]
	}
	return utf8.Valid(text)
}

// plainColumn reports whether a column's name is plain enough for a command that people copy:
// up to 64 letters, digits and a few signs. A regular expression for it takes 10 ms to compile
// each time that the program starts.
func plainColumn(name string) bool {
	for i, r := range name {
		if letter := unicode.IsLetter(r) || unicode.IsNumber(r) || r == '_'; !letter && (i == 0 || !strings.ContainsRune(" .()/%#-", r)) {
			return false
		}
	}
	n := utf8.RuneCountInString(name)
	return n > 0 && n <= 64
}

// headerOf returns the first row of a table with this separator, or nil if the text is not a table.
func headerOf(text []byte, comma rune) []string {
	r := csv.NewReader(bytes.NewReader(text))
	r.Comma, r.LazyQuotes = comma, true
	var header []string
	rows := 0
	for ; rows < maxRows; rows++ {
		row, err := r.Read()
		if err != nil {
			// Allow rows with other numbers of cells after a known header: cells may be unquoted.
			if rows == 0 || r.InputOffset() < int64(len(text)) && !knownColumn(header) {
				return nil
			}
			break
		}
		if rows == 0 {
			header = slices.Clone(row)
			if len(header) < 2 {
				return nil
			}
		}
	}
	// One line with commas may be ordinary text.
	if rows < 2 && !knownColumn(header) {
		return nil
	}
	return header
}

// columnOf returns the header of a table with one column, or nil if the first line is not the name of a field of a call.
func columnOf(text []byte) []string {
	first, _, _ := bytes.Cut(text, []byte("\n"))
	header := []string{strings.Trim(string(bytes.TrimSpace(first)), `"`)}
	if !knownColumn(header) {
		return nil
	}
	return header
}

func knownColumn(header []string) bool {
	return slices.ContainsFunc(header, func(name string) bool {
		name = strings.ToLower(strings.TrimSpace(name))
		return slices.Contains(textColumns, name) || slices.Contains(jsonColumns, name) || name == "url" || name == "id"
	})
}

// tableCommand returns the command that converts each row to a call.
func tableCommand(header []string, comma rune, isUTF8 bool) string {
	find := func(field string) string {
		for _, name := range header {
			if strings.EqualFold(strings.TrimSpace(name), field) && plainColumn(name) {
				return name
			}
		}
		return ""
	}
	var fields []string
	for _, field := range textColumns {
		if name := find(field); name != "" {
			fields = append(fields, `"`+field+`":r.pop("`+name+`") or None`)
		} else if field == "path" {
			fields = append(fields, `"path":"/PATH"`)
		}
	}
	rest := `"query":r`
	for _, field := range jsonColumns {
		if name := find(field); name != "" {
			fields = append(fields, `"`+field+`":json.loads(r.pop("`+name+`") or "null")`)
			if field == "query" {
				rest = `"meta":r`
			}
		}
	}
	if rest != `"meta":r` || find("meta") == "" {
		fields = append(fields, rest)
	}
	encoding := "utf-8-sig"
	if !isUTF8 {
		encoding = "cp1252"
	}
	delimiter := ""
	if comma != ',' {
		delimiter = `,delimiter="` + strings.ReplaceAll(string(comma), "\t", `\t`) + `"`
	}
	return `python3 -c 'import csv,json,sys; [print(json.dumps({` + strings.Join(fields, ",") +
		`})) for r in csv.DictReader(open(sys.argv[1],encoding="` + encoding + `",newline="")` + delimiter + `)]' {in} > {out}`
}
