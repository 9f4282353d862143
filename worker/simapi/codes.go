package simapi

import (
	"maps"
	"slices"
)

// Codes that the account's own checks answer with.
const (
	codeQuota      = "67200001"
	codeRate       = "67200002"
	codeToken      = "67200003"
	codeBalance    = "67200005"
	codeKeyMissing = "67200008"
	codeKeyWrong   = "67200009"
)

// messages are the API's own words for its codes. Those of 67200000, 67200008, 67200009, 67200100 and 67200101 are not in
// its error reference; they are worded after what is said of these codes elsewhere.
var messages = map[string]string{
	"68300004":     "Invalid parameter!",
	"68300005":     "Search api failure!",
	"68300006":     "Analytic basic access error!",
	"68300007":     "Bad request!",
	"68300008":     "Service error, please try again later!",
	"68300010":     "The file does not comply with upload specifications!",
	"67200000":     "Server error!",
	codeQuota:      "API call exceeds the total limit set by the platform!",
	codeRate:       "Quota exceeds the limit!",
	codeToken:      "Access token expired or authentication error!",
	"67200004":     "No permission or API package quota has exceeded the limit!",
	codeBalance:    "Insufficient balance, call failed!",
	"67200006":     "This client has expired and call failed!",
	"67200007":     "Exceeded the call limit, call failed!",
	codeKeyMissing: "The apikey is missing!",
	codeKeyWrong:   "The apikey and the token do not match!",
	"67200100":     "The service is busy or timed out!",
	"67200101":     "There is no such endpoint!",
}

// Codes lists every error code that the simulated API has a message for, in ascending order.
func Codes() []string {
	return slices.Sorted(maps.Keys(messages))
}

func messageOf(code string) string {
	if m, known := messages[code]; known {
		return m
	}
	return "Unknown error!"
}

// isCode tells whether text can stand as a JSON integer: digits without a leading zero, at most 30 of them.
func isCode(text string) bool {
	if text == "" || len(text) > 30 || text[0] == '0' && len(text) > 1 {
		return false
	}
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return false
		}
	}
	return true
}
