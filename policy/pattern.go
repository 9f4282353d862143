package policy

// Pattern matches endpoints: "METHOD /path/*", where METHOD may be * and a * in
// the path stands for any text, slashes included. The zero value matches nothing.
type Pattern struct{ p endpointPattern }

// ParsePattern reads a pattern. Its error says what is wrong with s.
func ParsePattern(s string) (Pattern, error) {
	p, err := parseEndpoint(s)
	return Pattern{p: p}, err
}

// Match tells whether the pattern covers a method, in upper case, and a path
// without its query string.
func (p Pattern) Match(method, path string) bool { return p.p.match(method, path) }

// String is the pattern as it was written.
func (p Pattern) String() string { return p.p.String() }
