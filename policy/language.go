package policy

import _ "embed"

// Language is the reference of the policy language, in Markdown: all keys, and what
// the presets decide.
//
//go:embed README.md
var Language string
