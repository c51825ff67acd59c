package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// How many requests a scenario makes, and how long each may take.
const (
	requestCount    = 12
	requestPatience = 20 * time.Second
)

// A consumer that answers each request, and how its answers were taken.
type answering struct {
	sync.Mutex
	results []*primitive.SendResult
	failure error
}

// The topic must be there: the client looks at once, and then after 20 s.
func (w *world) answer() (*answering, func(), error) {
	replies, err := w.producer()
	if err != nil {
		return nil, nil, err
	}
	found := &answering{}
	made, err := rocketmq.NewPushConsumer(
		consumer.WithNsResolver(primitive.NewPassthroughResolver([]string{w.nameServer})),
		consumer.WithGroupName(w.group),
		consumer.WithInstance(instance()),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	if err != nil {
		return nil, nil, err
	}
	err = made.Subscribe(w.topic, consumer.MessageSelector{}, func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, message := range messages {
			if !strings.HasPrefix(string(message.Body), "request ") {
				continue
			}
			answer, err := consumer.CreateReplyMessage(message, nil)
			var result *primitive.SendResult
			if err == nil {
				// The client takes the body that it is given for properties.
				answer.Body = []byte("answer to " + string(message.Body))
				result, err = replies.SendSync(context.Background(), answer)
			}
			found.Lock()
			if err != nil {
				found.failure = err
			} else {
				found.results = append(found.results, result)
			}
			found.Unlock()
		}
		return consumer.ConsumeSuccess, nil
	})
	if err != nil {
		return nil, nil, err
	}
	stop := func() {
		_ = made.Shutdown()
		_ = replies.Shutdown()
	}
	return found, stop, made.Start()
}

func (w *world) request(index int) *primitive.Message {
	return primitive.NewMessage(w.topic, []byte(fmt.Sprintf("request %d", index)))
}

// Makes the topic, starts who answers, and runs what asks.
func (w *world) asking(ask func(rocketmq.Producer) error) error {
	if err := w.send(0, 1); err != nil {
		return err
	}
	asker, err := w.producer()
	if err != nil {
		return err
	}
	defer asker.Shutdown()
	if _, err := asker.SendSync(context.Background(), w.message(1)); err != nil {
		return err
	}
	found, stop, err := w.answer()
	if err != nil {
		return err
	}
	defer stop()
	if err := found.awaitFirst(asker, w); err != nil {
		return err
	}
	if err := ask(asker); err != nil {
		found.Lock()
		defer found.Unlock()
		return fmt.Errorf("%w; of the answers: %v", err, found.failure)
	}
	// The requester may have its answer before the replier hears that it has.
	deadline := time.Now().Add(wait)
	for {
		found.Lock()
		count, failure := len(found.results), found.failure
		found.Unlock()
		if failure != nil {
			return failure
		}
		if count >= requestCount {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("only %d answers were taken", count)
		}
		time.Sleep(20 * time.Millisecond)
	}
	found.Lock()
	defer found.Unlock()
	for _, result := range found.results {
		if result.Status != primitive.SendOK {
			return fmt.Errorf("an answer: %s", result)
		}
	}
	return nil
}

// The client tells a broker who it is a second after its start, if it knows the broker by then, and else 30 s later: nobody finds it before.
func (a *answering) awaitFirst(asker rocketmq.Producer, w *world) error {
	deadline := time.Now().Add(wait)
	for {
		first := primitive.NewMessage(w.topic, []byte("request first"))
		_, err := asker.Request(context.Background(), 2*time.Second, first)
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no request is answered: %w", err)
		}
	}
	// What was late for its request is counted no more than what found nobody; the last answer may still be on its way to being counted.
	time.Sleep(500 * time.Millisecond)
	a.Lock()
	defer a.Unlock()
	a.results, a.failure = nil, nil
	return nil
}

func checkAnswer(index int, answer *primitive.Message, err error) error {
	if err != nil {
		return fmt.Errorf("request %d: %w", index, err)
	}
	if answer == nil || string(answer.Body) != fmt.Sprintf("answer to request %d", index) {
		return fmt.Errorf("request %d was answered with %v", index, answer)
	}
	return nil
}

// One request after the other, over all queues: each has its own answer, and the answer's sender hears that it was delivered.
func requestSync(w *world) error {
	return w.asking(func(asker rocketmq.Producer) error {
		for index := 0; index < requestCount; index++ {
			answer, err := asker.Request(context.Background(), requestPatience, w.request(index))
			if err := checkAnswer(index, answer, err); err != nil {
				return err
			}
		}
		return nil
	})
}

// Several requests at once.
func requestAsync(w *world) error {
	return w.asking(func(asker rocketmq.Producer) error {
		ends := make(chan error, requestCount)
		for index := 0; index < requestCount; index++ {
			index := index
			ended := func(_ context.Context, answer *primitive.Message, err error) { ends <- checkAnswer(index, answer, err) }
			if err := asker.RequestAsync(context.Background(), requestPatience, ended, w.request(index)); err != nil {
				return err
			}
		}
		for index := 0; index < requestCount; index++ {
			select {
			case err := <-ends:
				if err != nil {
					return err
				}
			case <-time.After(wait):
				return fmt.Errorf("%d requests have no end", requestCount-index)
			}
		}
		return nil
	})
}

// Nobody answers: the client gives up by itself, after the time that it was given.
func requestLate(w *world) error {
	asker, err := w.producer()
	if err != nil {
		return err
	}
	defer asker.Shutdown()
	start := time.Now()
	answer, err := asker.Request(context.Background(), 2*time.Second, w.request(0))
	if err == nil {
		return fmt.Errorf("an answer that nobody sent: %v", answer)
	}
	if took := time.Since(start); took < 1900*time.Millisecond || took > 10*time.Second {
		return fmt.Errorf("gave up after %s: %w", took, err)
	}
	return w.expectRequest()
}

// The request that nobody answered lies in its topic all the same.
func (w *world) expectRequest() error {
	seen, stop, err := w.try(w.topic, w.group, 1, succeed)
	if err != nil {
		return err
	}
	defer stop()
	if err := seen.expect(1); err != nil {
		return err
	}
	seen.Lock()
	defer seen.Unlock()
	message := seen.messages[0]
	if string(message.Body) != "request 0" || message.GetProperty(primitive.PropertyCorrelationID) == "" || message.GetProperty("TTL") != "2" {
		return fmt.Errorf("the request lies there as %v", message)
	}
	return nil
}
