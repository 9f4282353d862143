package callsfile

import (
	"path/filepath"
	"strings"

	"github.com/seed-2903acc3/callq/internal/shellword"
)

// Kind is the format of a file that is not a file of calls.
type Kind string

// The kinds.
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

// Finding describes a file that is not a file of calls, and what to do with it.
type Finding struct {
	Kind Kind
	// what describes the file; it follows "FILE is".
	what string
	// unpack is the command that writes the decompressed content of its argument to standard output. suffix is the file name
	// extension with which callq decompresses the file itself.
	unpack, suffix string
	// convert is the command that makes a file of calls, with {in} and {out} for the file names. outSuffix is appended to the
	// name for {out}; if it is empty, {out} gets the extension of JSON lines. note says what the command requires.
	convert, outSuffix, note string
	// advice says what to do if there is no command. raw is the rest of the sentence, complete.
	advice, raw string
}

// In describes the file of that name in one line, with the command to type. "-" means standard input.
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

// Mispacked returns a finding if a file is not compressed as its name says, and nil otherwise. head is the beginning of the file.
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

// unpackedName returns a name without the extension for a compression.
func unpackedName(name string) string {
	if PackingOf(name) == "" {
		return name
	}
	return strings.TrimSuffix(name, filepath.Ext(name))
}

// jsonLinesName returns the name of the file for the converted JSON lines. It is in the same directory and never the same name.
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

// shellWord quotes a name so that a shell reads it as one word, and a command does not read it as an option.
func shellWord(word string) string {
	if strings.HasPrefix(word, "-") {
		word = "./" + word
	}
	return shellword.Quote(word)
}
