package upstream

// Query sends a secret in a query parameter.
func Query(name string, value Secret) Auth { return Auth{queryScheme{name, value}} }

type queryScheme struct {
	name  string
	value Secret
}

func (q queryScheme) validate(report reportFunc, require func(string, Secret)) {
	require("value", q.value)
	if q.name == "" {
		report("auth.name", "is empty; name the query parameter")
	}
}

func (queryScheme) headers() []string      { return nil }
func (q queryScheme) parameters() []string { return []string{q.name} }
func (q queryScheme) secrets() []Secret    { return []Secret{q.value} }
func (q queryScheme) preview() credential  { return credential{query: []param{{q.name, stars}}} }

func (q queryScheme) authorizer(env authEnv) authorizer {
	value := q.value.reader(env.secrets, q.name)
	return &staticAuth{build: func(fresh bool) (credential, error) {
		v, err := value(fresh)
		if err == nil {
			err = checkHeaderValue(v)
		}
		return credential{query: []param{{q.name, v}}}, err
	}}
}
