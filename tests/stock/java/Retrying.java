import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.function.ToIntFunction;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Consumers that fail: the message comes again after a while, and in the end lies in the group's dead letter topic. */
final class Retrying {
    /** The first level of a message that is tried again. */
    private static final int FIRST_LEVEL = 3;

    private Retrying() {
    }

    /** One time that the listener was called with a message. */
    private static final class Try {
        final MessageExt message;
        final long at = System.currentTimeMillis();

        Try(MessageExt message) {
            this.message = message;
        }
    }

    /** What one scenario sends, and how its listener was called. */
    private static final class Run {
        final World world;
        final List<SendResult> sent = new ArrayList<>();
        final ConcurrentLinkedQueue<Try> tries = new ConcurrentLinkedQueue<>();

        Run(World world) throws Exception {
            this.world = world;
            world.createTopic(1);
        }

        void send(int index) throws Exception {
            SendResult result = World.waitFor("route", () -> {
                Message message = new Message(world.topic, "TagA", "key-" + index, ("body " + index).getBytes());
                message.putUserProperty("own", "Grüße " + index);
                message.setFlag(5);
                return world.producer().send(message);
            });
            sent.add(result);
            world.facts.name(result.getMsgId(), "<id " + index + ">");
            world.facts.name(result.getOffsetMsgId(), "<place " + index + ">");
        }

        void tell(Try one) {
            world.facts.tell("try: " + Facts.describe(one.message));
        }

        /** Waits for so many tries, which must each come their delay after the one before. */
        List<Try> waitForTries(int count, int... levels) throws Exception {
            World.waitFor(count + " tries", () -> tries.size() >= count ? Boolean.TRUE : null);
            List<Try> all = new ArrayList<>(tries);
            for (int number = 1; number <= levels.length; number++) {
                long gap = all.get(number).at - all.get(number - 1).at;
                long least = Delaying.millis(levels[number - 1]);
                World.check(gap >= least, "try " + number + " came after " + gap + " ms instead of " + least);
            }
            return all;
        }

        /** The message in the group's dead letter topic, read by a client of another group. */
        void tellDeadLetters(int count) throws Exception {
            for (MessageExt message : readAll("%DLQ%" + world.group, count)) {
                World.check(message.getBornTimestamp() <= message.getStoreTimestamp(), "it was born after it was stored");
                world.facts.tell("dead letter at " + message.getQueueOffset() + ": " + Facts.describe(message));
            }
        }

        List<MessageExt> readAll(String topic, int count) throws Exception {
            DefaultMQPullConsumer reader = world.pullConsumer("DEAD_" + world.topic);
            Collection<MessageQueue> queues = World.waitFor("route of " + topic, () -> {
                try {
                    Collection<MessageQueue> found = reader.fetchSubscribeMessageQueues(topic);
                    return found.isEmpty() ? null : found;
                } catch (MQClientException notYet) {
                    return null;
                }
            });
            World.same(1, queues.size(), "queues of " + topic);
            MessageQueue queue = queues.iterator().next();
            List<MessageExt> found = new ArrayList<>();
            World.waitFor(count + " messages in " + topic, () -> {
                PullResult result = reader.pull(queue, "*", found.size(), 32);
                if (result.getPullStatus() == PullStatus.FOUND) {
                    found.addAll(result.getMsgFoundList());
                }
                return found.size() >= count ? Boolean.TRUE : null;
            });
            World.same(count, found.size(), "messages in " + topic);
            return found;
        }
    }

    private static DefaultMQPushConsumer consumer(World world, String expression, int triesMax) throws Exception {
        DefaultMQPushConsumer made = World.hasten(world.pushConsumer(world.group));
        made.subscribe(world.topic, expression);
        made.setMaxReconsumeTimes(triesMax);
        return made;
    }

    /** A consumer that fails each time, and then says with which level the message is to come again; 0: the broker's. */
    private static void failAlways(Run run, String expression, int triesMax, ToIntFunction<MessageExt> level) throws Exception {
        DefaultMQPushConsumer failing = consumer(run.world, expression, triesMax);
        failing.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(message -> run.tries.add(new Try(message)));
            context.setDelayLevelWhenNextConsume(level.applyAsInt(messages.get(0)));
            return ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        failing.start();
    }

    /** Level after level, then the dead letter topic, which a push consumer reads like any other. */
    static void levels(World world) throws Exception {
        Run run = new Run(world);
        failAlways(run, "TagA", 3, message -> 0);
        run.send(0);
        run.waitForTries(4, FIRST_LEVEL, FIRST_LEVEL + 1, FIRST_LEVEL + 2).forEach(run::tell);
        run.tellDeadLetters(1);
        ConcurrentLinkedQueue<MessageExt> dead = new ConcurrentLinkedQueue<>();
        DefaultMQPushConsumer reading = World.hasten(world.pushConsumer("READ_" + world.group));
        reading.subscribe("%DLQ%" + world.group, "*");
        reading.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            dead.addAll(messages);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        reading.start();
        World.waitFor("dead letter by push", () -> dead.isEmpty() ? null : Boolean.TRUE);
        world.facts.tell("dead letter by push: " + Facts.describe(dead.peek()));
        World.same(4, run.tries.size(), "tries");
        for (MessageExt message : run.readAll("%RETRY%" + world.group, 3)) {
            world.facts.tell("in the retry topic at " + message.getQueueOffset() + ": " + Facts.describe(message));
        }
    }

    /** The listener chooses the level: a set one, then none at all. */
    static void ownLevel(World world) throws Exception {
        Run run = new Run(world);
        failAlways(run, "*", 10, message -> message.getReconsumeTimes() == 0 ? 2 : -1);
        run.send(0);
        run.waitForTries(2, 2).forEach(run::tell);
        run.tellDeadLetters(1);
    }

    /** Straight to the dead letters: after no try at all, and by a level of -1. */
    static void atOnce(World world) throws Exception {
        Run run = new Run(world);
        failAlways(run, "*", 10, message -> -1);
        run.send(0);
        run.waitForTries(1).forEach(run::tell);
        run.tellDeadLetters(1);
    }

    /** A group that allows no second try. */
    static void noSecondTry(World world) throws Exception {
        Run run = new Run(world);
        failAlways(run, "*", 0, message -> 0);
        run.send(0);
        run.waitForTries(1).forEach(run::tell);
        run.tellDeadLetters(1);
    }

    /** A message that was delayed before it is tried again: both delays, one after the other. */
    static void afterDelay(World world) throws Exception {
        Run run = new Run(world);
        failAlways(run, "*", 1, message -> 0);
        Message message = new Message(world.topic, "TagA", "key", "body".getBytes());
        message.setDelayTimeLevel(2);
        long before = System.currentTimeMillis();
        SendResult result = World.waitFor("route", () -> world.producer().send(message));
        world.facts.name(result.getMsgId(), "<id>");
        World.waitFor("first try", () -> run.tries.peek());
        World.check(run.tries.peek().at >= before + Delaying.millis(2), "the first try came early");
        // The message lies elsewhere than where it was sent to, and is called by that place.
        MessageExt first = run.tries.peek().message;
        world.facts.name(org.apache.rocketmq.common.message.MessageDecoder.createMessageId(first.getStoreHost(),
            first.getCommitLogOffset()), "<place after the delay>");
        run.waitForTries(2, FIRST_LEVEL).forEach(run::tell);
        run.tellDeadLetters(1);
    }

    /** An orderly consumer tries again by itself, and what follows in the queue waits. */
    static void orderly(World world) throws Exception {
        Run run = new Run(world);
        for (int index = 0; index < 4; index++) {
            run.send(index);
        }
        DefaultMQPushConsumer failing = consumer(world, "*", 5);
        failing.setSuspendCurrentQueueTimeMillis(100);
        failing.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            MessageExt message = messages.get(0);
            run.world.facts.tell("try: " + message.getKeys() + " reconsumed " + message.getReconsumeTimes());
            run.tries.add(new Try(message));
            if (message.getKeys().equals("key-1") && message.getReconsumeTimes() < 2) {
                context.setSuspendCurrentQueueTimeMillis(message.getReconsumeTimes() == 0 ? 300 : -1);
                return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
            }
            return ConsumeOrderlyStatus.SUCCESS;
        });
        failing.start();
        List<Try> tries = run.waitForTries(6);
        World.check(tries.get(2).at - tries.get(1).at >= 300, "the queue was not suspended");
    }

    /** After its last try the message is a dead letter, and the queue goes on. */
    static void orderlyToTheEnd(World world) throws Exception {
        Run run = new Run(world);
        for (int index = 0; index < 3; index++) {
            run.send(index);
        }
        DefaultMQPushConsumer failing = consumer(world, "*", 2);
        failing.setSuspendCurrentQueueTimeMillis(100);
        failing.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            MessageExt message = messages.get(0);
            run.world.facts.tell("try: " + message.getKeys() + " reconsumed " + message.getReconsumeTimes());
            run.tries.add(new Try(message));
            return message.getKeys().equals("key-1") ? ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT : ConsumeOrderlyStatus.SUCCESS;
        });
        failing.start();
        run.waitForTries(5);
        world.facts.name(failing.getInstanceName(), "<instance>");
        run.tellDeadLetters(1);
    }
}
