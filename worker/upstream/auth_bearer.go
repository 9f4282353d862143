package upstream

// Bearer sends a token in the Authorization header (RFC 6750).
func Bearer(token Secret) Auth { return Auth{bearerScheme{token}} }

type bearerScheme struct{ token Secret }

func (b bearerScheme) validate(_ faultFunc, need func(string, Secret)) { need("token", b.token) }
func (bearerScheme) headers() []string                                 { return []string{"Authorization"} }
func (bearerScheme) parameters() []string                              { return nil }
func (b bearerScheme) secrets() []Secret                               { return []Secret{b.token} }

func (bearerScheme) preview() credential {
	return credential{header: "Authorization", value: "Bearer " + stars}
}

func (b bearerScheme) authorizer(use authUse) authorizer {
	token := b.token.reader(use.secrets, "Bearer")
	return &staticAuth{render: func(fresh bool) (credential, error) {
		v, err := token(fresh)
		if err == nil {
			err = sendable(v)
		}
		return credential{header: "Authorization", value: "Bearer " + v}, err
	}}
}
