// Package config reads callq.yaml: strictly, with the file, line and column of
// whatever is wrong, and with the environment and the flags laid over it.
//
// A value is taken from the first that has it: flag, environment, file,
// default. Unknown and repeated keys, wrong types and values that could not
// work are refused all at once, so that one run shows everything there is to
// mend:
//
//	cfg, err := config.Load(config.Source{Path: "callq.yaml", Env: os.Getenv})
//	// callq.yaml:4:5: unknown key "tiemout" in upstreams.patsnap; did you mean "timeout"?
//
// References such as ${env:NAME} and ${file:PATH} are not read by Load. Commands
// that call an API or serve the admin address read them with [Config.Resolve];
// the others work without having the secrets at hand.
//
// The package knows neither the queue nor HTTP: it turns text into values, and
// the command that wants a worker makes one of them.
package config
