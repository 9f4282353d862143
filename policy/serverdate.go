package policy

import (
	"strconv"
	"strings"
	"time"
)

// readDate parses a date that a server sent: the three forms of RFC 9110, 5.6.7, with
// GMT, UTC or an offset, RFC 3339, and other common forms. A date without a zone is in
// UTC. The RFC 850 form has years of two digits: a year that would be more than 50 years
// after about is the latest past year with those digits.
func readDate(s string, about time.Time) (time.Time, bool) {
	s = strings.Trim(s, "\" \t")
	const shortest, longest = len("2006-01-02T15:04"), 100
	if len(s) < shortest || len(s) > longest {
		return time.Time{}, false
	}
	if isDigit(s[0]) && s[4] == '-' {
		return readISODate(s)
	}
	return readNamedDate(s, about)
}

// isoLayouts are the form of RFC 3339, and forms of ISO 8601 in which APIs omit the
// seconds, the colon of the offset or the zone. Go parses a fraction of a second
// wherever there are seconds.
var isoLayouts = []string{
	time.RFC3339, "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05Z07", "2006-01-02T15:04:05",
	"2006-01-02T15:04Z07:00", "2006-01-02T15:04Z0700", "2006-01-02T15:04",
}

func readISODate(s string) (time.Time, bool) {
	s = strings.ToUpper(s)
	for _, zone := range []string{"UTC", "GMT"} {
		if rest, ok := strings.CutSuffix(s, zone); ok {
			s = strings.TrimRight(rest, " ") + "Z"
			break
		}
	}
	const day = len("2006-01-02")
	if len(s) <= day {
		return time.Time{}, false // it was only long enough because of its spaces
	}
	if s[day] == ' ' {
		s = s[:day] + "T" + s[day+1:]
	}
	if i := strings.IndexByte(s, ' '); i >= 0 {
		s = s[:i] + s[i+1:] // "2006-01-02 15:04:05 +0000"
	}
	for _, layout := range isoLayouts {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// namedDate collects the parts of a date whose month is a word.
type namedDate struct {
	day, month, year int
	clock, zone      bool
	hour, min, sec   int
	offset           int
	shortYear        bool
}

// readNamedDate parses a date word by word, because servers write the year before or
// after the time and spell the zone in many ways.
func readNamedDate(s string, about time.Time) (time.Time, bool) {
	// JavaScript adds the zone's name: "… GMT+0100 (Central European Standard Time)".
	if i := strings.IndexByte(s, '('); i > 0 && strings.HasSuffix(s, ")") {
		s = s[:i]
	}
	var d namedDate
	first := true
	for word := range strings.FieldsSeq(s) {
		if first && isWeekday(strings.TrimSuffix(word, ",")) {
			first = false
			continue
		}
		first = false
		if !d.take(word) {
			return time.Time{}, false
		}
	}
	if d.month == 0 || d.day == 0 || d.year < 0 || !d.clock || d.year == 0 && !d.shortYear {
		return time.Time{}, false
	}
	if d.shortYear {
		d.year += 1900
		for d.at().AddDate(50, 0, 0).Before(about) {
			d.year += 100
		}
		for d.at().After(about.AddDate(50, 0, 0)) {
			d.year -= 100
		}
	}
	t := d.at()
	// time.Date moves a day that its month does not have to the next month.
	return t, t.Add(time.Duration(d.offset)*time.Second).Day() == d.day || d.sec == 60
}

func (d *namedDate) at() time.Time {
	return time.Date(d.year, time.Month(d.month), d.day, d.hour, d.min, d.sec-d.offset, 0, time.UTC)
}

// take parses one word.
func (d *namedDate) take(word string) bool {
	switch {
	case strings.Count(word, ":") == 2 && isDigit(word[0]):
		return d.takeClock(word)
	case isDigit(word[0]) && strings.Count(word, "-") == 2:
		parts := strings.Split(word, "-") // RFC 850: 06-Nov-94
		if len(parts[2]) == 2 && onlyDigits(parts[2]) && d.year == 0 {
			d.year, d.shortYear = int(parts[2][0]-'0')*10+int(parts[2][1]-'0'), true
			return d.takeNumber(parts[0]) && d.takeMonth(parts[1])
		}
		return d.takeNumber(parts[0]) && d.takeMonth(parts[1]) && d.takeNumber(parts[2])
	case onlyDigits(word):
		return d.takeNumber(word)
	case d.takeMonth(word):
		return true
	default:
		return d.takeZone(word)
	}
}

func (d *namedDate) takeClock(word string) bool {
	parts := strings.Split(word, ":")
	var n [3]int
	for i, part := range parts {
		if len(part) != 2 || !onlyDigits(part) {
			return false
		}
		n[i] = int(part[0]-'0')*10 + int(part[1]-'0')
	}
	if d.clock || n[0] > 23 || n[1] > 59 || n[2] > 60 {
		return false
	}
	d.hour, d.min, d.sec, d.clock = n[0], n[1], n[2], true
	return true
}

// takeNumber parses a day of one or two digits, or a year of four digits.
func (d *namedDate) takeNumber(word string) bool {
	n, err := strconv.Atoi(word)
	switch {
	case err != nil || !onlyDigits(word):
		return false
	case len(word) <= 2 && d.day == 0 && n >= 1 && n <= 31:
		d.day = n
		return true
	case len(word) == 4 && d.year == 0 && !d.shortYear && n > 0:
		d.year = n
		return true
	}
	return false
}

func (d *namedDate) takeMonth(word string) bool {
	if len(word) < 3 || d.month != 0 {
		return false
	}
	for m := time.January; m <= time.December; m++ {
		if name := m.String(); strings.EqualFold(word, name[:3]) || strings.EqualFold(word, name) {
			d.month = int(m)
			return true
		}
	}
	return false
}

// zones are the names of RFC 5322, 4.3, with their offsets in hours.
var zones = map[string]int{
	"GMT": 0, "UTC": 0, "UT": 0, "Z": 0, "EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7,
}

// takeZone parses GMT, UTC, +0000, +00:00 or GMT+0100.
func (d *namedDate) takeZone(word string) bool {
	if d.zone {
		return false
	}
	d.zone = true
	if hours, ok := zones[strings.ToUpper(word)]; ok {
		d.offset = hours * 3600
		return true
	}
	word = strings.TrimPrefix(strings.TrimPrefix(word, "GMT"), "UTC")
	if len(word) == 6 && word[3] == ':' {
		word = word[:3] + word[4:]
	}
	if len(word) != 5 || (word[0] != '+' && word[0] != '-') || !onlyDigits(word[1:]) {
		return false
	}
	hours, minutes := int(word[1]-'0')*10+int(word[2]-'0'), int(word[3]-'0')*10+int(word[4]-'0')
	if hours > 23 || minutes > 59 {
		return false
	}
	d.offset = hours*3600 + minutes*60
	if word[0] == '-' {
		d.offset = -d.offset
	}
	return true
}

// isWeekday reports whether s is the name of a day of the week, in full or shortened
// to three letters.
func isWeekday(s string) bool {
	if len(s) < 3 {
		return false
	}
	for day := time.Sunday; day <= time.Saturday; day++ {
		if name := day.String(); strings.EqualFold(s, name[:3]) || strings.EqualFold(s, name) {
			return true
		}
	}
	return false
}
