// Runs scenarios of the stock Go client against one cluster, all at once, and prints one line of JSON for each.
// Exits with 0 when all of them pass.
//
//	stock --namesrv HOST:PORT --prefix P SCENARIO...
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

const wait = 60 * time.Second

var instances int32

// What one scenario works with.
type world struct {
	nameServer string
	topic      string
	group      string
}

var scenarios = map[string]func(*world) error{
	"send-sync":    sendSync,
	"send-async":   sendAsync,
	"send-oneway":  sendOneway,
	"send-batch":   sendBatch,
	"send-ordered": sendOrdered,
	"push-tags":    pushTags,
	"push-live":    pushLive,
	"filter-push":  filterPush,

	"push-orderly":   pushOrderly,
	"push-broadcast": pushBroadcast,
	"pull":           pull,
	"request-sync":   requestSync,
	"request-async":  requestAsync,
	"request-late":   requestLate,
	"transactions":   transactions,
	"timers":         timers,

	"delay-levels":    delayLevels,
	"retry-levels":    retryLevels,
	"retry-own-level": retryOwnLevel,
	"retry-at-once":   retryAtOnce,

	"lost-master-slave": lostMasterSlave,
	"lost-master-alone": lostMasterAlone,

	"lost-master-delayed": lostMasterDelayed,
}

func main() {
	rlog.SetLogLevel("error")
	nameServer, prefix, names := "", "go", []string{}
	for i := 1; i < len(os.Args); i++ {
		switch os.Args[i] {
		case "--namesrv":
			i++
			nameServer = os.Args[i]
		case "--prefix":
			i++
			prefix = os.Args[i]
		default:
			names = append(names, os.Args[i])
		}
	}
	var all sync.WaitGroup
	var failed int32
	for _, name := range names {
		scenario, known := scenarios[name]
		if !known {
			fmt.Fprintln(os.Stderr, "no scenario", name)
			os.Exit(2)
		}
		all.Add(1)
		go func(name string) {
			defer all.Done()
			topic := prefix + "_" + name
			start := time.Now()
			err := scenario(&world{nameServer: nameServer, topic: topic, group: "G_" + topic})
			line := map[string]interface{}{"scenario": name, "ok": err == nil, "ms": time.Since(start).Milliseconds()}
			if err != nil {
				line["error"] = err.Error()
				atomic.AddInt32(&failed, 1)
			}
			text, _ := json.Marshal(line)
			fmt.Println(string(text))
		}(name)
	}
	all.Wait()
	if failed > 0 {
		os.Exit(1)
	}
}

func instance() string {
	return "go-" + strconv.Itoa(os.Getpid()) + "-" + strconv.Itoa(int(atomic.AddInt32(&instances, 1)))
}

func (w *world) producer(options ...producer.Option) (rocketmq.Producer, error) {
	options = append(options,
		producer.WithNsResolver(primitive.NewPassthroughResolver([]string{w.nameServer})),
		producer.WithGroupName("P_"+w.topic),
		producer.WithInstanceName(instance()),
		producer.WithSendMsgTimeout(10*time.Second),
		producer.WithRetry(0))
	made, err := rocketmq.NewProducer(options...)
	if err != nil {
		return nil, err
	}
	return made, made.Start()
}

// Message number index: body, tag, key and a property all follow from it.
func (w *world) message(index int) *primitive.Message {
	message := primitive.NewMessage(w.topic, []byte(body(index)))
	message.WithTag(tag(index))
	message.WithKeys([]string{"key-" + strconv.Itoa(index)})
	message.WithProperty("index", strconv.Itoa(index))
	return message
}

func tag(index int) string  { return "Tag" + string(rune('A'+index%3)) }
func body(index int) string { return fmt.Sprintf("body of message %d äß消", index) }

func (w *world) check(message *primitive.MessageExt) (int, error) {
	index, err := strconv.Atoi(message.GetProperty("index"))
	if err != nil {
		return 0, err
	}
	if string(message.Body) != body(index) || message.GetTags() != tag(index) || message.Topic != w.topic ||
		strings.TrimSpace(message.GetKeys()) != "key-"+strconv.Itoa(index) {
		return 0, fmt.Errorf("message %d came as %v", index, message)
	}
	return index, nil
}

// A push consumer that counts what arrives.
type counting struct {
	sync.Mutex
	counts   map[int]int
	wrong    error
	perQueue map[string]int64
}

func (w *world) consume(expression string, orderly bool) (*counting, func(), error) {
	return w.consumeSelected(consumer.MessageSelector{Type: consumer.TAG, Expression: expression}, orderly)
}

func (w *world) consumeSelected(selector consumer.MessageSelector, orderly bool) (*counting, func(), error) {
	found := &counting{counts: map[int]int{}, perQueue: map[string]int64{}}
	made, err := rocketmq.NewPushConsumer(
		consumer.WithNsResolver(primitive.NewPassthroughResolver([]string{w.nameServer})),
		consumer.WithGroupName(w.group),
		consumer.WithInstance(instance()),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
		consumer.WithConsumerOrder(orderly))
	if err != nil {
		return nil, nil, err
	}
	err = made.Subscribe(w.topic, selector, func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		found.Lock()
		defer found.Unlock()
		for _, message := range messages {
			index, err := w.check(message)
			if err != nil {
				found.wrong = err
				continue
			}
			found.counts[index]++
			queue := message.Queue.String()
			if orderly && found.perQueue[queue] != message.QueueOffset {
				found.wrong = fmt.Errorf("offset %d came after %d in %s", message.QueueOffset, found.perQueue[queue]-1, queue)
			}
			found.perQueue[queue] = message.QueueOffset + 1
		}
		return consumer.ConsumeSuccess, nil
	})
	if err != nil {
		return nil, nil, err
	}
	return found, func() { _ = made.Shutdown() }, made.Start()
}

// Waits for count different messages, and checks that each came once.
func (c *counting) expect(count int) error {
	deadline := time.Now().Add(wait)
	for {
		c.Lock()
		wrong, distinct := c.wrong, len(c.counts)
		c.Unlock()
		if wrong != nil {
			return wrong
		}
		if distinct >= count {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("only %d of %d messages came", distinct, count)
		}
		time.Sleep(20 * time.Millisecond)
	}
	c.Lock()
	defer c.Unlock()
	if len(c.counts) != count {
		return fmt.Errorf("%d messages came instead of %d", len(c.counts), count)
	}
	for index, times := range c.counts {
		if times != 1 {
			return fmt.Errorf("message %d came %d times", index, times)
		}
	}
	return nil
}

// Waits for count different messages, and tells how many came twice.
func (c *counting) expectTwice(count int) (int, error) {
	deadline := time.Now().Add(2 * wait)
	for {
		c.Lock()
		wrong, distinct, all := c.wrong, len(c.counts), 0
		for _, times := range c.counts {
			all += times
		}
		c.Unlock()
		if wrong != nil {
			return 0, wrong
		}
		if distinct >= count {
			return all - distinct, nil
		}
		if time.Now().After(deadline) {
			return 0, fmt.Errorf("only %d of %d messages came", distinct, count)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Waits for count messages that are not among those had before.
func (c *counting) expectNew(count int, had map[int]int) error {
	deadline := time.Now().Add(2 * wait)
	for {
		fresh := 0
		c.Lock()
		wrong := c.wrong
		for index := range c.counts {
			if had[index] == 0 {
				fresh++
			}
		}
		c.Unlock()
		if wrong != nil {
			return wrong
		}
		if fresh >= count {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("only %d of %d new messages came", fresh, count)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (w *world) expectAll(count int, orderly bool) error {
	found, shutdown, err := w.consume("*", orderly)
	if err != nil {
		return err
	}
	defer shutdown()
	return found.expect(count)
}

func (w *world) send(from, to int) error {
	made, err := w.producer()
	if err != nil {
		return err
	}
	defer made.Shutdown()
	for index := from; index < to; index++ {
		result, err := made.SendSync(context.Background(), w.message(index))
		if err != nil {
			return fmt.Errorf("send %d: %w", index, err)
		}
		if result.Status != primitive.SendOK || result.OffsetMsgID == "" {
			return fmt.Errorf("send %d: %s", index, result)
		}
	}
	return nil
}

func sendSync(w *world) error {
	if err := w.send(0, 100); err != nil {
		return err
	}
	return w.expectAll(100, false)
}

func sendAsync(w *world) error {
	made, err := w.producer()
	if err != nil {
		return err
	}
	defer made.Shutdown()
	// The first one creates the topic.
	if _, err := made.SendSync(context.Background(), w.message(0)); err != nil {
		return err
	}
	var answers sync.WaitGroup
	var failure atomic.Value
	for index := 1; index < 100; index++ {
		answers.Add(1)
		err := made.SendAsync(context.Background(), func(_ context.Context, result *primitive.SendResult, err error) {
			defer answers.Done()
			if err != nil {
				failure.Store(err.Error())
			} else if result.Status != primitive.SendOK {
				failure.Store(result.String())
			}
		}, w.message(index))
		if err != nil {
			return err
		}
	}
	answers.Wait()
	if text := failure.Load(); text != nil {
		return fmt.Errorf("async send: %v", text)
	}
	return w.expectAll(100, false)
}

func sendOneway(w *world) error {
	made, err := w.producer()
	if err != nil {
		return err
	}
	defer made.Shutdown()
	if _, err := made.SendSync(context.Background(), w.message(0)); err != nil {
		return err
	}
	for index := 1; index < 50; index++ {
		if err := made.SendOneWay(context.Background(), w.message(index)); err != nil {
			return err
		}
	}
	return w.expectAll(50, false)
}

func sendBatch(w *world) error {
	made, err := w.producer()
	if err != nil {
		return err
	}
	defer made.Shutdown()
	batch := []*primitive.Message{}
	for index := 0; index < 50; index++ {
		batch = append(batch, w.message(index))
	}
	result, err := made.SendSync(context.Background(), batch...)
	if err != nil {
		return err
	}
	if result.Status != primitive.SendOK || len(strings.Split(result.OffsetMsgID, ",")) != 50 {
		return fmt.Errorf("batch: %s", result)
	}
	return w.expectAll(50, false)
}

// Messages of one key go to one queue; an orderly consumer sees each queue in order.
func sendOrdered(w *world) error {
	made, err := w.producer(producer.WithQueueSelector(producer.NewHashQueueSelector()))
	if err != nil {
		return err
	}
	defer made.Shutdown()
	queues := map[int]string{}
	for index := 0; index < 80; index++ {
		message := w.message(index).WithShardingKey("order-" + strconv.Itoa(index%5))
		result, err := made.SendSync(context.Background(), message)
		if err != nil {
			return err
		}
		before, known := queues[index%5]
		if known && before != result.MessageQueue.String() {
			return fmt.Errorf("order %d went to %s after %s", index%5, result.MessageQueue, before)
		}
		queues[index%5] = result.MessageQueue.String()
	}
	return w.expectAll(80, true)
}

func pushTags(w *world) error {
	if err := w.send(0, 60); err != nil {
		return err
	}
	found, shutdown, err := w.consume("TagA || TagC", false)
	if err != nil {
		return err
	}
	defer shutdown()
	return found.expect(40)
}

// Only what an SQL92 expression wants arrives.
func filterPush(w *world) error {
	if err := w.send(0, 60); err != nil {
		return err
	}
	selector := consumer.MessageSelector{Type: consumer.SQL92, Expression: "index BETWEEN 10 AND 29 AND TAGS = 'TagB'"}
	found, shutdown, err := w.consumeSelected(selector, false)
	if err != nil {
		return err
	}
	defer shutdown()
	return found.expect(7)
}

// Messages sent while the consumer waits for some.
func pushLive(w *world) error {
	if err := w.send(0, 20); err != nil {
		return err
	}
	found, shutdown, err := w.consume("*", false)
	if err != nil {
		return err
	}
	defer shutdown()
	if err := found.expect(20); err != nil {
		return err
	}
	if err := w.send(20, 60); err != nil {
		return err
	}
	return found.expect(60)
}

// A producer that does not give up soon.
func (w *world) patientProducer() (rocketmq.Producer, error) {
	made, err := rocketmq.NewProducer(
		producer.WithNsResolver(primitive.NewPassthroughResolver([]string{w.nameServer})),
		producer.WithGroupName("P_"+w.topic),
		producer.WithInstanceName(instance()),
		producer.WithSendMsgTimeout(4*time.Second),
		producer.WithRetry(3))
	if err != nil {
		return nil, err
	}
	return made, made.Start()
}

// Sends each message until a broker takes it. Returns which broker that was, by message.
func sendUntilTaken(w *world, made rocketmq.Producer, from, to int) (map[int]string, error) {
	brokers := map[int]string{}
	for index := from; index < to; index++ {
		deadline := time.Now().Add(2 * wait)
		for {
			result, err := made.SendSync(context.Background(), w.message(index))
			if err == nil {
				brokers[index] = result.MessageQueue.BrokerName
				break
			}
			if time.Now().After(deadline) {
				return nil, fmt.Errorf("send %d: %w", index, err)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	return brokers, nil
}

// Says how far this is by a file, and waits for what whoever runs it does next.
func (w *world) step(reached, awaited string) error {
	folder := os.Getenv("RINGMQ_STEPS")
	if err := os.WriteFile(folder+"/"+w.topic+"."+reached, nil, 0o644); err != nil {
		return err
	}
	deadline := time.Now().Add(wait)
	for {
		if _, err := os.Stat(folder + "/" + awaited); err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no step %s", awaited)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// A master is killed and comes back. One consumer stays through all of it; others of a second group come and go, and each goes on where
// the one before it stopped: at the master, at its slave, and at the master again.
func lostMasterSlave(w *world) error {
	made, err := w.patientProducer()
	if err != nil {
		return err
	}
	defer made.Shutdown()
	stays, stop, err := (&world{nameServer: w.nameServer, topic: w.topic, group: w.group + "_STAYS"}).consume("*", false)
	if err != nil {
		return err
	}
	defer stop()
	sent, twice := 0, 0
	// One member of the group after the other.
	turn := func(count int) error {
		found, stop, err := w.consume("*", false)
		if err != nil {
			return err
		}
		// What it has not told the broker when it stops is told then.
		defer stop()
		if _, err := sendUntilTaken(w, made, sent, sent+count); err != nil {
			return err
		}
		sent += count
		again, err := found.expectTwice(count)
		if err != nil {
			return err
		}
		// What one got that another had got before is beyond its share.
		found.Lock()
		twice += again + len(found.counts) - count
		found.Unlock()
		// Its last offsets are noted a moment after the messages were counted.
		time.Sleep(time.Second)
		return nil
	}
	turns := []func() error{
		func() error { return turn(100) },
		func() error { return turn(60) },
		// The slave asks for its master's offsets twice a second.
		func() error { time.Sleep(2 * time.Second); return w.step("sent", "killed") },
		func() error { return turn(40) },
		func() error { return turn(40) },
		func() error { return w.step("read", "returned") },
		func() error { return turn(60) },
	}
	for _, next := range turns {
		if err := next(); err != nil {
			return err
		}
	}
	staysTwice, err := stays.expectTwice(sent)
	if err != nil {
		return err
	}
	fmt.Printf("# %s: twice %d in turns, %d for who stayed, of %d\n", w.topic, twice, staysTwice, sent)
	if twice > 64 || staysTwice > 64 {
		return fmt.Errorf("%d and %d of %d messages came twice", twice, staysTwice, sent)
	}
	return nil
}

// The master of two that is killed.
const lost = "broker-a"

// Members of one group, one after the other.
type members struct {
	w *world
	// By message: how often the group has had it.
	had map[int]int
}

// The next one reads until the group has had count messages, and until then at least.
func (m *members) next(count int, then time.Time) error {
	found, stop, err := m.w.consume("*", false)
	if err != nil {
		return err
	}
	// What it has not told the broker when it stops is told then.
	defer stop()
	if err := found.expectNew(count-len(m.had), m.had); err != nil {
		return err
	}
	time.Sleep(time.Until(then))
	// What comes beyond that is not to come, and its last offsets are noted a moment after the messages were counted.
	time.Sleep(time.Second)
	found.Lock()
	defer found.Unlock()
	for index, times := range found.counts {
		m.had[index] += times
	}
	return nil
}

// A master without a slave, or one whose slave is killed as well, is away for a while: all sends go to the other master, and what lies unread on
// the lost one waits there. Consumers of one group come and go. None stays, as in lostMasterSlave: the client does not look at a connection that
// was closed, so a pull that the lost master held ends after its 30 s.
func lostMasterAlone(w *world) error {
	made, err := w.patientProducer()
	if err != nil {
		return err
	}
	defer made.Shutdown()
	// By message: which broker took it, and how often the group has had it.
	brokers, had := map[int]string{}, map[int]int{}
	send := func(count int) (map[int]string, error) {
		taken, err := sendUntilTaken(w, made, len(brokers), len(brokers)+count)
		for index, broker := range taken {
			brokers[index] = broker
		}
		return taken, err
	}
	group := &members{w: w, had: had}
	turn := func(count int) error { return group.next(count, time.Now()) }
	if _, err := send(100); err != nil {
		return err
	}
	if err := turn(100); err != nil {
		return err
	}
	if _, err := send(100); err != nil {
		return err
	}
	// A broker writes its groups' offsets once a second: what the first member has read is not to come again.
	time.Sleep(2 * time.Second)
	if err := w.step("sent", "killed"); err != nil {
		return err
	}
	taken, err := send(40)
	if err != nil {
		return err
	}
	for index, broker := range taken {
		if broker == lost {
			return fmt.Errorf("the lost master took message %d", index)
		}
	}
	waiting := map[int]bool{}
	for index := 100; index < len(brokers); index++ {
		if brokers[index] == lost {
			waiting[index] = true
		}
	}
	if len(waiting) == 0 {
		return fmt.Errorf("nothing lies unread on the lost master")
	}
	if err := turn(len(brokers) - len(waiting)); err != nil {
		return err
	}
	for index := range had {
		if waiting[index] {
			return fmt.Errorf("message %d lies on the lost master and came from somewhere", index)
		}
	}
	if err := w.step("read", "returned"); err != nil {
		return err
	}
	deadline := time.Now().Add(2 * wait)
	for both := false; !both; {
		if time.Now().After(deadline) {
			return fmt.Errorf("the returned master takes no message")
		}
		taken, err := send(10)
		if err != nil {
			return err
		}
		for _, broker := range taken {
			both = both || broker == lost
		}
	}
	if err := turn(len(brokers)); err != nil {
		return err
	}
	twice := -len(had)
	for _, times := range had {
		twice += times
	}
	fmt.Printf("# %s: twice %d of %d\n", w.topic, twice, len(brokers))
	if len(had) != len(brokers) || twice > 64 {
		return fmt.Errorf("%d of %d messages came, %d twice", len(had), len(brokers), twice)
	}
	return nil
}

// Delay levels of whoever runs this: messageDelayLevel=1s 8s.
const (
	soon      = 1
	later     = 2
	laterTime = 8 * time.Second
)

// What waits on the lost master comes when it is back, and only then; what had come by then is read from its slave.
func lostMasterDelayed(w *world) error {
	made, err := w.patientProducer()
	if err != nil {
		return err
	}
	defer made.Shutdown()
	group := &members{w: w, had: map[int]int{}}
	if err := w.sendDelayed(made, 0, 40, soon, map[int]bool{}); err != nil {
		return err
	}
	if err := group.next(10, time.Now()); err != nil {
		return err
	}
	// Some lie unread, and some still wait, when the master is lost.
	if err := w.sendDelayed(made, 40, 80, soon, map[int]bool{}); err != nil {
		return err
	}
	time.Sleep(2 * time.Second)
	waiting := map[int]bool{}
	if err := w.sendDelayed(made, 80, 120, later, waiting); err != nil {
		return err
	}
	if len(waiting) == 0 || len(waiting) == 40 {
		return fmt.Errorf("one master has all that waits")
	}
	if err := w.step("sent", "killed"); err != nil {
		return err
	}
	if err := group.next(120-len(waiting), time.Now().Add(laterTime+time.Second)); err != nil {
		return err
	}
	for index := range group.had {
		if waiting[index] {
			return fmt.Errorf("message %d waits on the lost master and came from somewhere", index)
		}
	}
	if err := w.step("read", "returned"); err != nil {
		return err
	}
	if err := group.next(120, time.Now()); err != nil {
		return err
	}
	twice := -len(group.had)
	for _, times := range group.had {
		twice += times
	}
	fmt.Printf("# %s: twice %d of %d\n", w.topic, twice, len(group.had))
	if len(group.had) != 120 || twice > 64 {
		return fmt.Errorf("%d of 120 messages came, %d twice", len(group.had), twice)
	}
	return nil
}

// Sends messages that wait, and notes which of them the master has that will be lost.
func (w *world) sendDelayed(made rocketmq.Producer, from, to, level int, onLost map[int]bool) error {
	for index := from; index < to; index++ {
		result, err := made.SendSync(context.Background(), w.message(index).WithDelayTimeLevel(level))
		if err != nil {
			return fmt.Errorf("send %d: %w", index, err)
		}
		if result.MessageQueue.BrokerName == lost {
			onLost[index] = true
		}
	}
	return nil
}
