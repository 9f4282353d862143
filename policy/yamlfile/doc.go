// Package yamlfile reads YAML files strictly. Policies and callq.yaml are read with
// it, so that both refuse the same mistakes in the same words.
//
// Every mistake has its place, FILE:LINE:COL, and all mistakes of a file are
// reported at once. A key that is not known is a mistake; so is a key given twice, a
// wrong type, a tag, a merge key and a second document. Anchors and aliases are read.
//
//	f, root := yamlfile.Parse("callq.yaml", "the configuration", data)
//	root.Mapping(yamlfile.Fields{
//		"worker": func(v yamlfile.Value) {
//			v.Mapping(yamlfile.Fields{
//				"concurrency": func(v yamlfile.Value) { n, _ = v.Whole(1, 100) },
//			})
//		},
//	})
//	err := f.Err()
//
// Pos, Error and Errors are as stable as package policy, whose functions return them;
// the rest may change.
//
// The package knows nothing of the keys that a file has. Its messages show no value
// that may be a secret: only values of closed sets, numbers and durations.
package yamlfile
