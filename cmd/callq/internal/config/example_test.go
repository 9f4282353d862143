package config_test

import (
	"fmt"
	"os"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
)

const file = `upstreams:
  patsnap:
    base_url: https://connect.patsnap.com
    policy: patsnap
    auth: {type: bearer, token: "${env:PATSNAP_TOKEN}"}
`

func ExampleParse() {
	cfg, err := config.Parse("callq.yaml", []byte(file), config.Source{Env: os.Getenv})
	if err != nil {
		fmt.Println(err)
		return
	}
	u := cfg.Upstream("patsnap")
	fmt.Println(u.BaseURL, u.Timeout, u.Auth.Type, u.Auth.Token)
	// Output: https://connect.patsnap.com 30s bearer ${env:PATSNAP_TOKEN}
}

func ExampleParse_mistake() {
	_, err := config.Parse("callq.yaml", []byte(file+"    tiemout: 10s\n"), config.Source{})
	fmt.Println(err)
	// Output: callq.yaml:6:5: unknown key "tiemout" in upstreams.patsnap; did you mean "timeout"?
}

func ExampleConfig_Resolve() {
	cfg, err := config.Parse("callq.yaml", []byte(file), config.Source{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(cfg.Resolve())
	// Output: callq.yaml:5:33: upstreams.patsnap.auth.token: the environment variable PATSNAP_TOKEN is not set; set it, or correct its name
}
