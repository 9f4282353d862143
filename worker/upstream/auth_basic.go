package upstream

import "encoding/base64"

// Basic sends a user name and a password in the Authorization header (RFC 7617).
func Basic(username, password Secret) Auth { return Auth{basicScheme{username, password}} }

type basicScheme struct{ username, password Secret }

func (b basicScheme) validate(_ reportFunc, require func(string, Secret)) {
	require("username", b.username)
	require("password", b.password)
}

func (basicScheme) headers() []string    { return []string{"Authorization"} }
func (basicScheme) parameters() []string { return nil }
func (b basicScheme) secrets() []Secret  { return []Secret{b.username, b.password} }

func (basicScheme) preview() credential {
	return credential{header: "Authorization", value: "Basic " + stars}
}

func (b basicScheme) authorizer(env authEnv) authorizer {
	username := func(fresh bool) (string, error) { return b.username.read(readOptions{fresh: fresh}) }
	if b.password.literal && !b.username.literal {
		// Some APIs take their key as the user name, with a meaningless password. A user
		// name from a file or variable beside a literal password is such a key.
		username = b.username.reader(env.secrets, "Basic")
	}
	return &staticAuth{build: func(fresh bool) (credential, error) {
		user, err := username(fresh)
		if err != nil {
			return credential{}, err
		}
		password, err := b.password.read(readOptions{fresh, func(part string) { env.secrets.Add(part, user, "password") }})
		if err != nil {
			return credential{}, err
		}
		pair := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
		env.secrets.Add(password, user, "password")
		env.secrets.Add(pair, "Basic")
		return credential{header: "Authorization", value: "Basic " + pair}, nil
	}}
}
