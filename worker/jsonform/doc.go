// Package jsonform has the JSON forms of batches, calls, dead letters and circuits that
// programs read: the output of --json and the answers of the HTTP API are the same. It may
// change in any version; the fields of the forms stay.
//
//	for b, err := range client.Batches(ctx) {
//		…
//		encoder.Encode(jsonform.BatchOf(b)) // {"batch":"b","accepted":3,"open":1,…}
//	}
//
// It does not read Redis.
package jsonform
