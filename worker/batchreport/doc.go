// Package batchreport says what came of a batch, in numbers and as one HTML file: what was
// asked, how the calls ended and why, how many requests that took and which of them were
// wasted, what it cost, and for how long the accounts were held. It may change in any
// version.
//
//	report, err := batchreport.Make(ctx, batchreport.Config{Redis: rdb}, "monday")
//	…
//	err = batchreport.WriteHTML(w, report)
//
// It reads every call of the batch once, in pages, and keeps sums: its memory does not
// depend on the size of the batch, apart from eight bytes for each key. Every request that
// callq has sent for the batch is counted, also those before a redrive: the sums are those
// that the API itself has counted. What is not known is said in [Report.Unknown].
package batchreport
