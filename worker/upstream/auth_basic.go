package upstream

import "encoding/base64"

// Basic sends a user name and a password in the Authorization header (RFC 7617).
func Basic(username, password Secret) Auth { return Auth{basicScheme{username, password}} }

type basicScheme struct{ username, password Secret }

func (b basicScheme) validate(_ faultFunc, need func(string, Secret)) {
	need("username", b.username)
	need("password", b.password)
}

func (basicScheme) headers() []string    { return []string{"Authorization"} }
func (basicScheme) parameters() []string { return nil }
func (b basicScheme) secrets() []Secret  { return []Secret{b.username, b.password} }

func (basicScheme) preview() credential {
	return credential{header: "Authorization", value: "Basic " + stars}
}

func (b basicScheme) authorizer(use authUse) authorizer {
	username := func(fresh bool) (string, error) { return b.username.read(look{fresh: fresh}) }
	if b.password.fixed && !b.username.fixed {
		// Some APIs take their key as the user name, beside a password that says
		// nothing; it is the key that was kept out of the configuration then.
		username = b.username.reader(use.secrets, "Basic")
	}
	return &staticAuth{render: func(fresh bool) (credential, error) {
		user, err := username(fresh)
		if err != nil {
			return credential{}, err
		}
		password, err := b.password.read(look{fresh, func(part string) { use.secrets.Add(part, user, "password") }})
		if err != nil {
			return credential{}, err
		}
		pair := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
		use.secrets.Add(password, user, "password")
		use.secrets.Add(pair, "Basic")
		return credential{header: "Authorization", value: "Basic " + pair}, nil
	}}
}
