// Package limit holds a fleet to what an account may do: so many calls a second,
// so many a day, so much money a month. This package is part of callq's inside
// and may change.
//
// Redis keeps the account and its clock counts. A call's slot is taken in the
// same script that takes the call from its queue ([Source]), so that no call
// leaves the queue which may not be made within a second. What is taken counts
// from then on: a worker that dies with it has spent it, one that does not send
// the call gives it back.
//
//   - A rate ("10/s burst 20") is paced: its slots follow each other evenly, the
//     burst aside. They are half a percent further apart than the rate says, as
//     calls do not travel equally fast, and the API counts arrivals.
//   - A count over an hour or more ("5000/day") is a window. It can be used up at
//     once, and begins anew when its period turns: on the full hour, at midnight,
//     on Monday, on the first of the month, in UTC or as its reset says.
//   - "adaptive" is a rate that follows the API's own rate errors.
//   - Budgets are windows of calls or of money. The price of a call is reserved
//     at the most that one was billed so far, and settled when the bill is known. A
//     bill that was higher than the whole budget counts until the window turns.
package limit
