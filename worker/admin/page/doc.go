// Package page is the admin server's pages for people: the overview, batches, dead letters
// and single calls. It may change in any version.
//
//	pages := page.New(ctx, page.Config{Overview: reader, Client: client, Circuits: circuits})
//	for _, route := range pages.Routes() {
//		mux.Handle(route.Method+" "+route.Pattern, route.Handler)
//	}
//
// Each page is HTML that the server writes. The script in assets/app.js asks for the same
// page as an event stream and replaces the parts that changed; without it the page works
// too, and is renewed by loading it again. Nothing is loaded from another host.
//
// The package does not know who may see a page: the caller checks that, and says through
// Config whether a person may change things.
package page
