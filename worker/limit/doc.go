// Package limit enforces the limits of an account for the whole fleet: calls a second,
// calls a day, money a month. It may change in any version.
//
// The counts are in Redis, and all times are by Redis's clock. The script that dequeues a
// call also takes the call's slot ([Source]), so that a call leaves its queue only if it
// may be made within a second. A slot counts as used from then on: it is lost if the
// worker dies, and the worker returns it if it does not send the call.
//
//   - A rate ("10/s burst 20") is paced: its slots are evenly spaced, except for the
//     burst. They are half a percent further apart than the rate says, because calls do
//     not all take the same time to arrive, and the API counts arrivals.
//   - A count for an hour or more ("5000/day") is a window. It can be used up at once.
//     A new window begins on the full hour, at midnight, on Monday or on the first of the
//     month, in UTC or as its reset says.
//   - "adaptive" is a rate that follows the API's own rate errors.
//   - A [Pace] is a limit of the API. What is left of it is what the API's answers say, less
//     the calls that they may not have counted. Other limits are counted here.
//   - Budgets are windows of calls or of money. For each call the highest cost so far is
//     reserved, and reconciled when the bill is known. A bill that is higher than the
//     whole budget counts until the next window begins.
package limit
