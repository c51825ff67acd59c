package main

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

const transactionsOfAKind = 3

// Says how a transaction ends by its key: the first word is what it says at once, the last but one what it says when it is asked.
type ending struct {
	sync.Mutex
	asked map[string]int
	wrong error
}

func said(word string) primitive.LocalTransactionState {
	switch word {
	case "commit":
		return primitive.CommitMessageState
	case "rollback":
		return primitive.RollbackMessageState
	default:
		return primitive.UnknowState
	}
}

func (e *ending) ExecuteLocalTransaction(message *primitive.Message) primitive.LocalTransactionState {
	if message.TransactionId == "" {
		e.Lock()
		defer e.Unlock()
		e.wrong = fmt.Errorf("%s has no transaction id", message.GetKeys())
	}
	return said(strings.Split(message.GetKeys(), "-")[0])
}

func (e *ending) CheckLocalTransaction(message *primitive.MessageExt) primitive.LocalTransactionState {
	e.Lock()
	defer e.Unlock()
	key := strings.TrimSpace(message.GetKeys())
	e.asked[key]++
	if string(message.Body) != "body "+key {
		e.wrong = fmt.Errorf("asked about %s with body %s", key, message.Body)
	}
	words := strings.Split(key, "-")
	if words[1] == "late" && e.asked[key] == 1 {
		return primitive.UnknowState
	}
	return said(words[len(words)-2])
}

// What is committed arrives once, as it was sent; nothing else does. Checks must come within seconds.
func transactions(w *world) error {
	f := w.facts("transactions")
	end := &ending{asked: map[string]int{}}
	made, err := rocketmq.NewTransactionProducer(end,
		producer.WithNsResolver(primitive.NewPassthroughResolver([]string{w.nameServer})),
		producer.WithGroupName("P_"+w.topic+"_tx"),
		producer.WithInstanceName(instance()),
		producer.WithSendMsgTimeout(10*time.Second),
		producer.WithRetry(0))
	if err != nil {
		return err
	}
	if err := made.Start(); err != nil {
		return err
	}
	defer made.Shutdown()
	expected := []string{}
	for _, kind := range []string{"commit-", "rollback-", "unknown-commit-", "unknown-rollback-", "unknown-late-commit-"} {
		for number := 0; number < transactionsOfAKind; number++ {
			key := fmt.Sprintf("%s%d", kind, number)
			message := primitive.NewMessage(w.topic, []byte("body "+key)).WithTag("TagA").WithKeys([]string{key})
			message.WithProperty("own", "Grüße "+key)
			result, err := made.SendMessageInTransaction(context.Background(), message)
			if err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
			if result.Status != primitive.SendOK || result.State != said(strings.Split(key, "-")[0]) {
				return fmt.Errorf("%s: %s, %v", key, result.SendResult, result.State)
			}
			f.name(result.MsgID, "<id "+key+">")
			if strings.HasSuffix(kind, "commit-") {
				expected = append(expected, key)
			}
		}
	}
	seen, stop, err := w.try(w.topic, w.group, 1, succeed)
	if err != nil {
		return err
	}
	defer stop()
	if err := seen.expect(len(expected)); err != nil {
		return err
	}
	// Whatever else came would come by now.
	time.Sleep(4 * time.Second)
	seen.Lock()
	defer seen.Unlock()
	lines := []string{}
	for _, message := range seen.messages {
		if message.PreparedTransactionOffset <= 0 {
			return fmt.Errorf("%s does not name its half message", message.GetKeys())
		}
		lines = append(lines, fmt.Sprintf("%s: %s tags %s sysFlag %d id %s own %s", strings.TrimSpace(message.GetKeys()), message.Body,
			message.GetTags(), message.SysFlag, message.MsgId, message.GetProperty("own")))
	}
	if len(lines) != len(expected) {
		return fmt.Errorf("%d messages came, %v were committed", len(lines), expected)
	}
	sort.Strings(lines)
	for _, line := range lines {
		f.tell(line)
	}
	end.Lock()
	defer end.Unlock()
	asked := []string{}
	for key, times := range end.asked {
		// Who ended at once may be asked as well where all of it takes a second.
		if strings.HasPrefix(key, "unknown") {
			asked = append(asked, fmt.Sprintf("%s=%d", key, times))
		}
	}
	sort.Strings(asked)
	f.tell("asked " + strings.Join(asked, ", "))
	return end.wrong
}
