package upstream

// Bearer sends a token in the Authorization header (RFC 6750).
func Bearer(token Secret) Auth { return Auth{bearerScheme{token}} }

type bearerScheme struct{ token Secret }

func (b bearerScheme) validate(_ reportFunc, require func(string, Secret)) { require("token", b.token) }
func (bearerScheme) headers() []string                                     { return []string{"Authorization"} }
func (bearerScheme) parameters() []string                                  { return nil }
func (b bearerScheme) secrets() []Secret                                   { return []Secret{b.token} }

func (bearerScheme) preview() credential {
	return credential{header: "Authorization", value: "Bearer " + stars}
}

func (b bearerScheme) authorizer(env authEnv) authorizer {
	token := b.token.reader(env.secrets, "Bearer")
	return &staticAuth{build: func(fresh bool) (credential, error) {
		v, err := token(fresh)
		if err == nil {
			err = checkHeaderValue(v)
		}
		return credential{header: "Authorization", value: "Bearer " + v}, err
	}}
}
