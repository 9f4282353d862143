package notify

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Slack returns the body of a request to an incoming webhook of Slack; see
// https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks.
func (m Message) Slack() ([]byte, error) {
	e, err := m.Event()
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(map[string]string{"text": slackEscape.Replace(Text(e))})
	if err != nil {
		return nil, fmt.Errorf("encode a %s event for Slack: %w", m.Type, err)
	}
	return body, nil
}

// slackEscape replaces the three characters that are control characters for Slack.
var slackEscape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// Text returns an event in words, in one line.
func Text(e Event) string {
	switch e := e.(type) {
	case BatchEnded:
		return e.text()
	case CircuitOpened:
		text := fmt.Sprintf("%s is paused until %s (%s)", e.Circuit, clock(e.Until), e.Reason)
		if e.Why != "" {
			text += ": " + e.Why
		}
		if e.Waiting > 0 {
			text += fmt.Sprintf("; %s", counted(e.Waiting, "call waits", "calls wait"))
		}
		return text
	case CircuitClosed:
		return fmt.Sprintf("%s: calls are sent again, after a pause of %s", e.Circuit, e.At.Sub(e.Opened).Round(time.Second))
	case DeadGroup:
		text := fmt.Sprintf("%s: %s failed for good (%s", e.Upstream, counted(e.Count, "call has", "calls have"), e.Class)
		if e.Code != "" {
			text += ", code " + e.Code
		}
		text += ")"
		if why := strings.TrimSpace(e.Message + " " + e.Advice); why != "" {
			text += ": " + why
		}
		return fmt.Sprintf("%s Example: callq dead show %s", text, e.Example)
	}
	return ""
}

func (e BatchEnded) text() string {
	var ends []string
	for _, end := range []struct {
		n    int64
		word string
	}{{e.Done, "done"}, {e.Dead, "dead"}, {e.Dropped, "dropped"}, {e.Cancelled, "cancelled"}} {
		if end.n > 0 {
			ends = append(ends, fmt.Sprintf("%d %s", end.n, end.word))
		}
	}
	return fmt.Sprintf("Batch %s has ended: %s, %s", e.Batch, counted(e.Accepted, "call", "calls"), strings.Join(ends, ", "))
}

func counted(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// clock is a time of day, with its date: the reader may be anywhere.
func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }
