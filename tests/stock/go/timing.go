package main

import (
	"context"
	"fmt"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// What differs from run to run: times of this age.
var moments = regexp.MustCompile(`=1[6-9][0-9]{11}\b`)

// Messages that come at a time of their own. The client has no words for that: an application sets the property.
func timers(w *world) error {
	f := w.facts("timers")
	made, err := w.producer()
	if err != nil {
		return err
	}
	defer made.Shutdown()
	now := time.Now()
	due := map[string]time.Time{}
	send := func(key string, at time.Time, property, value string) error {
		message := primitive.NewMessage(w.topic, []byte("body "+key)).WithTag("TagA").WithKeys([]string{key})
		message.WithProperty(property, value)
		result, err := made.SendSync(context.Background(), message)
		if err != nil {
			f.tell(key + ": refused: " + err.Error())
			return nil
		}
		if result.Status != primitive.SendOK {
			return fmt.Errorf("%s: %s", key, result)
		}
		f.name(result.MsgID, "<id "+key+">")
		due[key] = at
		return nil
	}
	moment := now.Add(3300 * time.Millisecond)
	for _, failure := range []error{
		send("seconds", now.Add(2*time.Second), "TIMER_DELAY_SEC", "2"),
		send("milliseconds", now.Add(1700*time.Millisecond), "TIMER_DELAY_MS", "1700"),
		send("moment", moment, "TIMER_DELIVER_MS", strconv.FormatInt(moment.UnixMilli(), 10)),
		send("past", now.Add(-time.Millisecond), "TIMER_DELIVER_MS", strconv.FormatInt(now.UnixMilli()-5000, 10)),
		send("too-far", now, "TIMER_DELAY_SEC", "259201"),
	} {
		if failure != nil {
			return failure
		}
	}
	seen, stop, err := w.try(w.topic, w.group, 1, succeed)
	if err != nil {
		return err
	}
	defer stop()
	if err := seen.expect(len(due)); err != nil {
		return err
	}
	seen.Lock()
	defer seen.Unlock()
	lines := []string{}
	for _, message := range seen.messages {
		key := strings.TrimSpace(message.GetKeys())
		if stored := time.UnixMilli(message.StoreTimestamp); stored.Before(due[key].Truncate(time.Millisecond)) {
			return fmt.Errorf("%s was stored %s early", key, due[key].Sub(stored))
		}
		text := strings.Replace(w.describeAnywhere(message), fmt.Sprintf("REAL_QID=%d", message.Queue.QueueId), "REAL_QID=<same>", 1)
		lines = append(lines, key+": arrived: "+moments.ReplaceAllString(text, "=<time>"))
	}
	if len(lines) != len(due) {
		return fmt.Errorf("%d messages came, %d were taken", len(lines), len(due))
	}
	sort.Strings(lines)
	for _, line := range lines {
		f.tell(line)
	}
	return nil
}
