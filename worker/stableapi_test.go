package worker_test

import (
	"bytes"
	"fmt"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/seed-2903acc3/callq/"

// stable are the packages that programs build on. worker/filerun is one where it exists.
var stable = []string{"policy", "tasks", "worker", "worker/filerun", "worker/callqtest"}

// shown are types of other packages that are as stable: how an upstream is authenticated
// and reached, what keeps secrets out of logs, and where a mistake in a policy file is.
var shown = []string{
	"worker/upstream.Auth", "worker/upstream.AuthStyle", "worker/upstream.OAuth2Config", "worker/upstream.Secret", "worker/upstream.TLS",
	"worker/redact.Redactor", "policy/yamlfile.Errors",
}

// exports maps each package that the stable ones need to the file of what it exports.
func exports(t *testing.T) map[string]string {
	t.Helper()
	args := []string{"list", "-e", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}"}
	for _, name := range stable {
		args = append(args, module+name)
	}
	list := exec.CommandContext(t.Context(), "go", args...)
	var stderr bytes.Buffer
	list.Stderr = &stderr
	out, err := list.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	files := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if name, file, _ := strings.Cut(strings.TrimSpace(line), " "); file != "" {
			files[name] = file
		}
	}
	return files
}

// surface walks what a package shows and notes the types of others that it names.
type surface struct {
	of    *types.Package
	seen  map[types.Type]bool
	found map[string]string // type -> where it is named first
}

func (s *surface) visit(where string, typ types.Type) {
	if typ == nil || s.seen[typ] {
		return
	}
	s.seen[typ] = true
	switch typ := typ.(type) {
	case *types.Named:
		s.named(where, typ.Obj())
		for arg := range typ.TypeArgs().Types() {
			s.visit(where, arg)
		}
		if typ.Obj().Pkg() != s.of {
			return
		}
		s.visit(where, typ.Underlying())
		for method := range typ.Methods() {
			if method.Exported() {
				s.visit(where+"."+method.Name(), method.Type())
			}
		}
	case *types.Alias:
		s.named(where, typ.Obj())
		s.visit(where, types.Unalias(typ))
	case *types.Struct:
		for field := range typ.Fields() {
			if field.Exported() || field.Embedded() {
				s.visit(where+"."+field.Name(), field.Type())
			}
		}
	case *types.Interface:
		for method := range typ.Methods() {
			s.visit(where+"."+method.Name(), method.Type())
		}
		for embedded := range typ.EmbeddedTypes() {
			s.visit(where, embedded)
		}
	case *types.Signature:
		for param := range typ.TypeParams().TypeParams() {
			s.visit(where, param.Constraint())
		}
		for _, tuple := range []*types.Tuple{typ.Params(), typ.Results()} {
			for v := range tuple.Variables() {
				s.visit(where, v.Type())
			}
		}
	case *types.Map:
		s.visit(where, typ.Key())
		s.visit(where, typ.Elem())
	case interface{ Elem() types.Type }: // pointer, slice, array, channel
		s.visit(where, typ.Elem())
	}
}

func (s *surface) named(where string, name *types.TypeName) {
	if name.Pkg() == nil || name.Pkg() == s.of || !strings.HasPrefix(name.Pkg().Path(), module) {
		return
	}
	if !slices.Contains(stable, strings.TrimPrefix(name.Pkg().Path(), module)) {
		if full := name.Pkg().Path() + "." + name.Name(); s.found[full] == "" {
			s.found[full] = where
		}
	}
}

// Programs are built on the stable packages: what these show must not change with the
// inside. And a type with more methods than anybody reads is several types.
func TestTheStablePackagesExposeNoTypeOfAnUnstableOne(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it runs go list")
	}
	files := exports(t)
	load := importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) {
		file, known := files[path]
		if !known {
			return nil, fmt.Errorf("go list has no package %s", path)
		}
		return os.Open(file)
	})
	for _, name := range stable {
		if files[module+name] == "" && name == "worker/filerun" {
			continue
		}
		pkg, err := load.Import(module + name)
		if err != nil {
			t.Fatal(err)
		}
		s := &surface{of: pkg, seen: map[types.Type]bool{}, found: map[string]string{}}
		for _, exported := range pkg.Scope().Names() {
			object := pkg.Scope().Lookup(exported)
			if !object.Exported() {
				continue
			}
			s.visit(exported, object.Type())
			if typ, is := object.(*types.TypeName); is {
				if n := methods(typ.Type()); n > 15 {
					t.Errorf("%s.%s has %d exported methods, more than 15", name, exported, n)
				}
			}
		}
		for _, typ := range slices.Sorted(maps.Keys(s.found)) {
			if name != "worker" && name != "policy" || !slices.Contains(shown, strings.TrimPrefix(typ, module)) {
				t.Errorf("%s: %s names %s", name, s.found[typ], typ)
			}
		}
	}
}

func methods(typ types.Type) (n int) {
	set := types.NewMethodSet(types.NewPointer(typ))
	for method := range set.Methods() {
		if method.Obj().Exported() {
			n++
		}
	}
	return n
}
