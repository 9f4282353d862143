package policy

import (
	"errors"
	"io/fs"
	"path"
	"slices"

	"github.com/seed-2903acc3/callq/policy/yamlfile"
)

// Lint returns all findings about a policy file and the files that it extends: the
// errors that stop it from loading, and warnings, such as a raw code in a message for
// end users. The error says that the file itself could not be read.
func Lint(fsys fs.FS, name string) (yamlfile.Errors, error) {
	l := loader{
		read:   func(name string) ([]byte, error) { return fs.ReadFile(fsys, name) },
		beside: func(from, name string) string { return path.Join(path.Dir(from), name) },
	}
	return l.lint(name)
}

// LintFile is [Lint] for a file on disk.
func LintFile(name string) (yamlfile.Errors, error) { return diskLoader().lint(name) }

func (l *loader) lint(name string) (yamlfile.Errors, error) {
	_, err := l.open(name)
	var findings yamlfile.Errors
	if err != nil && !errors.As(err, &findings) {
		return nil, err
	}
	findings = append(slices.Clone(findings), l.notes...)
	slices.SortStableFunc(findings, func(a, b *yamlfile.Error) int {
		if a.File != b.File {
			return slices.Index(l.chain, a.File) - slices.Index(l.chain, b.File)
		}
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return findings, nil
}
