package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// Queues are read in order, and one message in six is wanted later: its queue waits for it, and nothing behind it comes before. By one member: the
// client keeps the lock of a queue that has become another member's, which then waits for a minute.
func pushOrderly(w *world) error {
	const count, every, queues = 90, 6, 5
	made, err := w.producer(producer.WithQueueSelector(producer.NewHashQueueSelector()))
	if err != nil {
		return err
	}
	defer made.Shutdown()
	for index := 0; index < count; index++ {
		message := w.message(index).WithShardingKey(fmt.Sprintf("order-%d", index%queues))
		if _, err := made.SendSync(context.Background(), message); err != nil {
			return err
		}
	}
	var lock sync.Mutex
	var wrong error
	// By message: how often it came. By queue: the offset that is next.
	tries, next := map[int]int{}, map[string]int64{}
	listen := func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		lock.Lock()
		defer lock.Unlock()
		if len(messages) != 1 {
			wrong = fmt.Errorf("%d messages at once", len(messages))
		}
		message := messages[0]
		index, err := w.check(message)
		if err != nil {
			wrong = err
			return consumer.ConsumeSuccess, nil
		}
		queue := message.Queue.String()
		if message.QueueOffset != next[queue] {
			wrong = fmt.Errorf("offset %d of %s came, and %d is next", message.QueueOffset, queue, next[queue])
		}
		tries[index]++
		if index%every == 0 && tries[index] == 1 {
			return consumer.SuspendCurrentQueueAMoment, nil
		}
		next[queue] = message.QueueOffset + 1
		return consumer.ConsumeSuccess, nil
	}
	member, err := rocketmq.NewPushConsumer(
		consumer.WithNsResolver(primitive.NewPassthroughResolver([]string{w.nameServer})),
		consumer.WithGroupName(w.group),
		consumer.WithInstance(instance()),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
		consumer.WithConsumerOrder(true),
		consumer.WithSuspendCurrentQueueTimeMillis(100*time.Millisecond))
	if err != nil {
		return err
	}
	if err := member.Subscribe(w.topic, consumer.MessageSelector{}, listen); err != nil {
		return err
	}
	if err := member.Start(); err != nil {
		return err
	}
	defer member.Shutdown()
	deadline := time.Now().Add(wait)
	for {
		lock.Lock()
		failure, ended := wrong, 0
		for index, times := range tries {
			if index%every != 0 || times > 1 {
				ended++
			}
		}
		lock.Unlock()
		if failure != nil {
			return failure
		}
		if ended == count {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("only %d of %d messages ended", ended, count)
		}
		time.Sleep(20 * time.Millisecond)
	}
	lock.Lock()
	defer lock.Unlock()
	for index, times := range tries {
		if expected := map[bool]int{true: 2, false: 1}[index%every == 0]; times != expected {
			return fmt.Errorf("message %d came %d times", index, times)
		}
	}
	return wrong
}

// Two broadcast consumers of a group: each gets everything, and a third that begins where the first noted its offsets gets what is new.
func pushBroadcast(w *world) error {
	if err := w.send(0, 50); err != nil {
		return err
	}
	start := func(name string) (*counting, func(), error) {
		found := &counting{counts: map[int]int{}}
		made, err := rocketmq.NewPushConsumer(
			consumer.WithNsResolver(primitive.NewPassthroughResolver([]string{w.nameServer})),
			consumer.WithGroupName(w.group),
			consumer.WithInstance(name),
			consumer.WithConsumerModel(consumer.BroadCasting),
			consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
		if err != nil {
			return nil, nil, err
		}
		err = made.Subscribe(w.topic, consumer.MessageSelector{}, func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			found.Lock()
			defer found.Unlock()
			for _, message := range messages {
				index, err := w.check(message)
				if err != nil {
					found.wrong = err
				}
				found.counts[index]++
			}
			return consumer.ConsumeSuccess, nil
		})
		if err != nil {
			return nil, nil, err
		}
		return found, func() { _ = made.Shutdown() }, made.Start()
	}
	// Offsets are noted by the client's name.
	first := instance()
	one, stopOne, err := start(first)
	if err != nil {
		return err
	}
	other, stopOther, err := start(instance())
	if err != nil {
		return err
	}
	defer stopOther()
	if err := w.send(50, 100); err != nil {
		return err
	}
	for _, member := range []*counting{one, other} {
		if err := member.expect(100); err != nil {
			return err
		}
	}
	// What a message counts for is noted a moment after the listener was called.
	time.Sleep(time.Second)
	stopOne()
	if err := w.send(100, 120); err != nil {
		return err
	}
	again, stopAgain, err := start(first)
	if err != nil {
		return err
	}
	defer stopAgain()
	if err := again.expect(20); err != nil {
		return err
	}
	again.Lock()
	defer again.Unlock()
	for index := range again.counts {
		if index < 100 {
			return fmt.Errorf("message %d came again", index)
		}
	}
	return other.expect(120)
}

// A consumer that asks for messages itself, and notes how far it is; the next of its group goes on there.
func pull(w *world) error {
	const count = 60
	if err := w.send(0, count); err != nil {
		return err
	}
	had := map[int]int{}
	turn := func(until int) error {
		made, err := rocketmq.NewPullConsumer(
			consumer.WithNsResolver(primitive.NewPassthroughResolver([]string{w.nameServer})),
			consumer.WithGroupName(w.group),
			consumer.WithInstance(instance()),
			consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
		if err != nil {
			return err
		}
		if err := made.Subscribe(w.topic, consumer.MessageSelector{Type: consumer.TAG, Expression: "TagA || TagC"}); err != nil {
			return err
		}
		if err := made.Start(); err != nil {
			return err
		}
		defer made.Shutdown()
		deadline := time.Now().Add(wait)
		for len(had) < until {
			if time.Now().After(deadline) {
				return fmt.Errorf("only %d messages came", len(had))
			}
			request, err := made.Poll(context.Background(), time.Second)
			if consumer.IsNoNewMsgError(err) {
				continue
			}
			if err != nil {
				return err
			}
			for _, message := range request.GetMsgList() {
				index, err := w.check(message)
				if err != nil {
					return err
				}
				had[index]++
			}
			made.ACK(context.Background(), request, consumer.ConsumeSuccess)
		}
		return made.PersistOffset(context.Background(), w.topic)
	}
	if err := turn(count * 2 / 3); err != nil {
		return err
	}
	if err := w.send(count, 2*count); err != nil {
		return err
	}
	if err := turn(2 * count * 2 / 3); err != nil {
		return err
	}
	for index, times := range had {
		if times != 1 || index%3 == 1 {
			return fmt.Errorf("message %d came %d times", index, times)
		}
	}
	return nil
}
