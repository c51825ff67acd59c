package main

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// The broker's messageDelayLevel must be 1s 2s 1s 2s 3s 4s: retries begin at level 3.
var levelSeconds = []int{0, 1, 2, 1, 2, 3, 4}

func levelTime(level int) time.Duration { return time.Duration(levelSeconds[level]) * time.Second }

// What a scenario saw, in lines that are the same on every broker and in every run: ids and names of a run are replaced by words.
type facts struct {
	scenario string
	words    []string
}

func (w *world) facts(scenario string) *facts {
	// The longer name first, for it holds the other.
	return &facts{scenario: scenario, words: []string{w.group, "<group>", w.topic, "<topic>"}}
}

func (f *facts) name(text, word string) { f.words = append(f.words, text, word) }

func (f *facts) tell(text string) {
	fmt.Printf("= %s %s\n", f.scenario, strings.NewReplacer(f.words...).Replace(text))
}

// All of a message but its times and places.
func describe(message *primitive.MessageExt) string {
	properties := []string{}
	for name, value := range message.GetProperties() {
		switch name {
		case "__CRC32#":
			continue
		case "CONSUME_START_TIME", "MIN_OFFSET", "MAX_OFFSET":
			value = "*"
		}
		properties = append(properties, name+"="+strings.TrimSpace(value))
	}
	sort.Strings(properties)
	return fmt.Sprintf("topic %s queue %d reconsumed %d flag %d sysFlag %d prepared %d body %s id %s {%s}", message.Topic, message.Queue.QueueId,
		message.ReconsumeTimes, message.Flag, message.SysFlag, message.PreparedTransactionOffset, message.Body, message.MsgId,
		strings.Join(properties, ", "))
}

// Every time that a listener was called with a message.
type tries struct {
	sync.Mutex
	messages []*primitive.MessageExt
	at       []time.Time
}

// Waits for count of them.
func (t *tries) expect(count int) error {
	deadline := time.Now().Add(wait)
	for {
		t.Lock()
		found := len(t.messages)
		t.Unlock()
		if found >= count {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("only %d of %d messages or tries", found, count)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// A push consumer whose listener answers what next says.
func (w *world) try(topic, group string, max int32, next func(*primitive.ConsumeConcurrentlyContext, *primitive.MessageExt) consumer.ConsumeResult) (*tries, func(), error) {
	seen := &tries{}
	made, err := rocketmq.NewPushConsumer(
		consumer.WithNsResolver(primitive.NewPassthroughResolver([]string{w.nameServer})),
		consumer.WithGroupName(group),
		consumer.WithInstance(instance()),
		consumer.WithMaxReconsumeTimes(max),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	if err != nil {
		return nil, nil, err
	}
	err = made.Subscribe(topic, consumer.MessageSelector{}, func(ctx context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		seen.Lock()
		defer seen.Unlock()
		seen.messages = append(seen.messages, messages...)
		for range messages {
			seen.at = append(seen.at, time.Now())
		}
		concurrently, _ := primitive.GetConcurrentlyCtx(ctx)
		return next(concurrently, messages[0]), nil
	})
	if err != nil {
		return nil, nil, err
	}
	return seen, func() { _ = made.Shutdown() }, made.Start()
}

func succeed(*primitive.ConsumeConcurrentlyContext, *primitive.MessageExt) consumer.ConsumeResult {
	return consumer.ConsumeSuccess
}

// Sends one message, with a level above 0 as a delayed one. Returns when it began.
func (w *world) sendOne(f *facts, key string, level int) (time.Time, error) {
	made, err := w.producer()
	if err != nil {
		return time.Time{}, err
	}
	defer made.Shutdown()
	message := primitive.NewMessage(w.topic, []byte("body "+key)).WithTag("TagA").WithKeys([]string{key})
	message.WithProperty("own", "Grüße "+key)
	message.Flag = 5
	if level > 0 {
		message.WithDelayTimeLevel(level)
	}
	before := time.Now()
	result, err := made.SendSync(context.Background(), message)
	if err != nil {
		return before, err
	}
	if result.Status != primitive.SendOK {
		return before, fmt.Errorf("send: %s", result)
	}
	f.name(result.MsgID, "<id "+key+">")
	f.name(result.OffsetMsgID, "<place "+key+">")
	return before, nil
}

// Each level at its time.
func delayLevels(w *world) error {
	f := w.facts("delay-levels")
	sent := map[string]time.Time{}
	levels := map[string]int{}
	for _, level := range []int{1, 2, 6, 0} {
		key := fmt.Sprintf("level-%d", level)
		before, err := w.sendOne(f, key, level)
		if err != nil {
			return err
		}
		sent[key], levels[key] = before, level
	}
	seen, stop, err := w.try(w.topic, w.group, 1, succeed)
	if err != nil {
		return err
	}
	defer stop()
	if err := seen.expect(len(sent)); err != nil {
		return err
	}
	seen.Lock()
	defer seen.Unlock()
	lines := []string{}
	for index, message := range seen.messages {
		key := strings.TrimSpace(message.GetKeys())
		if took := seen.at[index].Sub(sent[key]); took < levelTime(levels[key]) {
			return fmt.Errorf("%s came after %s", key, took)
		}
		stored, born := time.UnixMilli(message.StoreTimestamp), time.UnixMilli(message.BornTimestamp)
		if stored.Sub(born) < levelTime(levels[key]) {
			return fmt.Errorf("%s was stored %s after it was born", key, stored.Sub(born))
		}
		queue := fmt.Sprintf(" queue %d ", message.Queue.QueueId)
		text := strings.Replace(describe(message), queue, " queue <any> ", 1)
		text = strings.Replace(text, fmt.Sprintf("REAL_QID=%d", message.Queue.QueueId), "REAL_QID=<same>", 1)
		lines = append(lines, key+": arrived: "+text)
	}
	sort.Strings(lines)
	for _, line := range lines {
		f.tell(line)
	}
	return nil
}

// A consumer that always fails: levels are those of the tries, 0 for the broker's own choice.
func (w *world) fail(scenario string, max int32, expected []int, level func(times int32) int) error {
	f := w.facts(scenario)
	if _, err := w.sendOne(f, "0", 0); err != nil {
		return err
	}
	seen, stop, err := w.try(w.topic, w.group, max, func(concurrently *primitive.ConsumeConcurrentlyContext, message *primitive.MessageExt) consumer.ConsumeResult {
		concurrently.DelayLevelWhenNextConsume = level(message.ReconsumeTimes)
		return consumer.ConsumeRetryLater
	})
	if err != nil {
		return err
	}
	defer stop()
	if err := seen.expect(len(expected) + 1); err != nil {
		return err
	}
	seen.Lock()
	for index, message := range seen.messages {
		if index > 0 {
			if gap := seen.at[index].Sub(seen.at[index-1]); gap < levelTime(expected[index-1]) {
				seen.Unlock()
				return fmt.Errorf("try %d came after %s", index, gap)
			}
		}
		f.tell("try: " + w.describeAnywhere(message))
	}
	seen.Unlock()
	return w.tellDeadLetter(f)
}

// The queue is the producer's choice.
func (w *world) describeAnywhere(message *primitive.MessageExt) string {
	text := describe(message)
	if strings.Contains(text, "RETRY_TOPIC") {
		return text
	}
	return strings.Replace(text, fmt.Sprintf(" queue %d ", message.Queue.QueueId), " queue <any> ", 1)
}

func (w *world) tellDeadLetter(f *facts) error {
	deadline := time.Now().Add(wait)
	for {
		// A consumer that starts before its topic is there looks again after 20 s only: another one then.
		seen, stop, err := w.try("%DLQ%"+w.group, fmt.Sprintf("DEAD_%s_%d", w.topic, time.Now().UnixNano()), 1, succeed)
		if err == nil {
			for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
				seen.Lock()
				if len(seen.messages) > 0 {
					defer stop()
					defer seen.Unlock()
					f.tell("dead letter: " + describe(seen.messages[0]))
					if len(seen.messages) != 1 {
						return fmt.Errorf("%d dead letters", len(seen.messages))
					}
					return nil
				}
				seen.Unlock()
			}
		}
		if stop != nil {
			stop()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no dead letter: %v", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func retryLevels(w *world) error {
	return w.fail("retry-levels", 2, []int{3, 4}, func(int32) int { return 0 })
}

func retryOwnLevel(w *world) error {
	return w.fail("retry-own-level", 10, []int{2}, func(times int32) int {
		if times == 0 {
			return 2
		}
		return -1
	})
}

func retryAtOnce(w *world) error {
	return w.fail("retry-at-once", 10, nil, func(int32) int { return -1 })
}
