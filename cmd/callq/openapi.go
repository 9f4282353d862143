package main

import (
	adminapi "github.com/seed-2903acc3/callq/worker/admin/api"
	"github.com/spf13/cobra"
)

func (a *app) openapiCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "openapi",
		Short: "Print the description of the HTTP API, as OpenAPI 3.1",
		Long: `Print the OpenAPI 3.1 document of the HTTP API, which callq work and callq admin serve
under /v1 on the admin address. They serve the document too, as /v1/openapi.json. No
configuration is read.`,
		Args: takes(),
		RunE: func(*cobra.Command, []string) error {
			text, err := adminapi.Document()
			if err != nil {
				return err
			}
			_, err = a.stdout.Write(text)
			return err
		},
	}
}
