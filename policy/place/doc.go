// Package place finds values in an API's answer by the places that a policy names: a
// header, a JSONPath (RFC 9535) into a JSON body, or the text of a body that is not JSON.
//
//	code, err := place.Parse("$.error.code")
//	set := place.NewSet([]place.Place{code})
//	found := set.Read([]byte(`{"error": {"code": "insufficient_quota"}}`))
//	found[code.String()][0].Text // insufficient_quota
//
// An API's answer is hostile input: the nesting, the part of a body that is decoded,
// and the values that are kept are bounded, and [Parse] refuses JSONPaths whose
// evaluation could take long.
//
// This package may change.
package place
