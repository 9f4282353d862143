package callsfile

import (
	"path/filepath"
	"strings"

	"github.com/seed-2903acc3/callq/internal/shellword"
)

// Kind is what a file is that is no file of calls.
type Kind string

// The kinds that are told apart.
const (
	CompressedGzip Kind = "gzip"
	CompressedZstd Kind = "zstd"
	Bzip2          Kind = "bzip2"
	XZ             Kind = "xz"
	Zip            Kind = "zip"
	UTF16          Kind = "utf16" // and UTF-32
	Array          Kind = "array"
	PrettyObject   Kind = "object"
	Results        Kind = "results"
	Table          Kind = "csv"
	Paths          Kind = "paths"
	YAML           Kind = "yaml"
	HTML           Kind = "html"
	XML            Kind = "xml"
	Binary         Kind = "binary"
)

const spreadsheet = "save it as CSV in UTF-8 there, and give that: callq says how to make calls of it"

// Finding is what a file is, and what to do with it.
type Finding struct {
	Kind Kind
	// what follows "FILE is".
	what string
	// unpack is the command that writes the contents of its argument to standard output; suffix the end of a name that callq
	// itself reads so.
	unpack, suffix string
	// convert is the command that makes a file of calls, with {in} and {out}; outSuffix is what is added to the name for {out},
	// where that is not that of JSON lines. note says what the command needs.
	convert, outSuffix, note string
	// advice is what to do where there is no command; raw is the rest of the sentence, as it is.
	advice, raw string
}

// In says in one line what the file of that name is and what to type. "-" is standard input.
func (f *Finding) In(name string) string {
	source := name
	if name == "-" {
		name, source = "standard input", "FILE"
	}
	text := name + " is " + f.what
	packing := PackingOf(source)
	if packing != "" {
		text = name + " holds " + f.what
	}
	out := shellWord(jsonLinesName(source))
	if f.outSuffix != "" {
		out = shellWord(unpackedName(source) + f.outSuffix)
	}
	command := ""
	switch {
	case f.Kind == Results:
		if calls, ok := strings.CutSuffix(source, ".results.jsonl"); ok {
			return text + "; the calls are in " + calls
		}
		return text + "; name the file of the calls that it is the results of"
	case f.raw != "":
		return name + " is " + f.what + f.raw
	case f.advice != "":
		return text + "; " + f.advice
	case f.suffix != "" && source == name && packing == "":
		return text + "; give it a name that ends in " + f.suffix + ", then it is read: mv " + shellWord(name) + " " + shellWord(name+f.suffix)
	case f.unpack != "":
		command = f.unpack + " {in} > {out}"
		text += "; unpack it: "
	case f.convert != "":
		command = f.convert
		text += "; convert it"
		if f.note != "" {
			text += " (" + f.note + ")"
		}
		text += ": "
	default:
		return text + `; a file of calls has one JSON object a line, as {"path":"/…"}`
	}
	in := shellWord(source)
	switch packing {
	case Gzip:
		command = "gzip -dc " + in + " | " + command
		in = "/dev/stdin"
	case Zstd:
		command = "zstd -dc " + in + " | " + command
		in = "/dev/stdin"
	}
	return text + strings.NewReplacer("{in}", in, "{out}", out).Replace(command)
}

// Mispacked says that a file is not compressed as its name says, or returns nil: head is its beginning as it is.
func Mispacked(name string, head []byte) *Finding {
	packing := PackingOf(name)
	if packing == "" || len(head) == 0 {
		return nil
	}
	plain := shellWord(unpackedName(name))
	found := detectMagic(head)
	switch {
	case found != nil && string(found.Kind) == string(packing):
		return nil
	case found != nil && found.suffix != "":
		return &Finding{Kind: found.Kind, what: found.what, raw: "; name it so: mv " + shellWord(name) + " " + shellWord(unpackedName(name)+found.suffix)}
	case found != nil:
		return &Finding{Kind: found.Kind, what: found.what, raw: ", not " + string(packing) + "; name it as what it is"}
	}
	return &Finding{Kind: Binary, what: "not " + string(packing), raw: ", though its name says so; if it is text already, name it so: mv " + shellWord(name) + " " + plain}
}

// unpackedName is a name without what it says of a compression.
func unpackedName(name string) string {
	if PackingOf(name) == "" {
		return name
	}
	return strings.TrimSuffix(name, filepath.Ext(name))
}

// jsonLinesName is the name for the JSON lines that are made of a file, beside it, and never its own.
func jsonLinesName(name string) string {
	if name == "FILE" {
		return "calls.jsonl"
	}
	plain := unpackedName(name)
	stem := strings.TrimSuffix(plain, filepath.Ext(plain))
	if out := stem + ".jsonl"; out != name && stem != "" {
		return out
	}
	return stem + ".lines.jsonl"
}

// shellWord writes a name so that a shell reads it as one word, and a command not as an option.
func shellWord(word string) string {
	if strings.HasPrefix(word, "-") {
		word = "./" + word
	}
	return shellword.Quote(word)
}
