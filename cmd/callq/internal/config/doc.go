// Package config reads callq.yaml strictly, and applies the environment and the flags.
//
// Each value comes from the first of these that has it: flag, environment, file, default.
// Unknown and repeated keys, wrong types and impossible values are errors with file, line
// and column. All of them are reported at once, so that one run shows everything that must
// be fixed:
//
//	cfg, err := config.Load(config.Source{Path: "callq.yaml", Env: os.Getenv})
//	// callq.yaml:4:5: unknown key "tiemout" in upstreams.patsnap; did you mean "timeout"?
//
// Load does not read references such as ${env:NAME} and ${file:PATH}. Commands that call
// an API or serve the admin address read them with [Config.Resolve]. Other commands do not
// need the secrets.
//
// The package depends neither on the queue nor on an HTTP client. It turns text into
// values, from which the commands make workers and clients.
package config
