// Package yamlfile reads YAML files strictly. Policies and callq.yaml are both read with
// it, so that the same mistake has the same message in both.
//
// Every mistake has a position, FILE:LINE:COL, and all mistakes of a file are reported
// at once. An unknown key is a mistake; so is a key given twice, a wrong type, a tag, a
// merge key and a second document. Anchors and aliases are allowed.
//
//	f, root := yamlfile.Parse("callq.yaml", "the configuration", data)
//	root.Mapping(yamlfile.Fields{
//		"worker": func(v yamlfile.Value) {
//			v.Mapping(yamlfile.Fields{
//				"concurrency": func(v yamlfile.Value) { n, _ = v.Int(1, 100) },
//			})
//		},
//	})
//	err := f.Err()
//
// Pos, Error and Errors are as stable as package policy, whose functions return them;
// the rest may change.
//
// The package does not know which keys a file has. Its messages never show a value that
// may be a secret: they show only values of closed sets, numbers and durations.
//
// The package may change in any release, except for the types Pos, Error and Errors, which
// package policy returns.
package yamlfile
