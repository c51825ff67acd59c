import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Push consumers: the client pulls, balances queues over its group and keeps offsets. */
final class Pushing {
    private Pushing() {
    }

    /** What a consumer's listener found wrong; the listener itself must not throw, else messages are sent back. */
    private static final class Findings {
        final Tally tally = new Tally();
        final ConcurrentLinkedQueue<Throwable> wrong = new ConcurrentLinkedQueue<>();

        void check(World world, Collection<MessageExt> messages) {
            for (MessageExt message : messages) {
                try {
                    tally.add(world.checkMessage(message));
                } catch (Throwable failure) {
                    wrong.add(failure);
                }
            }
        }

        void checkNothingWrong() {
            World.check(wrong.isEmpty(), "a listener found: " + wrong.peek());
        }

        MessageListenerConcurrently listener(World world) {
            return (messages, context) -> {
                check(world, messages);
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            };
        }
    }

    private static DefaultMQPushConsumer start(World world, String expression, Findings findings) throws Exception {
        DefaultMQPushConsumer consumer = world.pushConsumer(world.group);
        consumer.subscribe(world.topic, expression);
        consumer.registerMessageListener(findings.listener(world));
        consumer.start();
        return consumer;
    }

    /** Messages from before the start and, by long polling, those sent later: each exactly once. */
    static void concurrent(World world) throws Exception {
        world.createTopic(4);
        world.send(0, 100);
        Findings findings = new Findings();
        start(world, "*", findings);
        findings.tally.waitForDistinct(100);
        world.send(100, 200);
        findings.tally.waitForDistinct(200);
        findings.checkNothingWrong();
        findings.tally.checkOnce(0, 200);
    }

    /** Orderly consumption locks queues at the broker and sees each queue in order. */
    static void orderly(World world) throws Exception {
        world.createTopic(3);
        world.send(0, 120);
        Findings findings = new Findings();
        Map<MessageQueue, Long> next = new HashMap<>();
        DefaultMQPushConsumer consumer = world.pushConsumer(world.group);
        consumer.subscribe(world.topic, "*");
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            findings.check(world, messages);
            synchronized (next) {
                MessageQueue queue = context.getMessageQueue();
                for (MessageExt message : messages) {
                    long expected = next.getOrDefault(queue, 0L);
                    if (expected != message.getQueueOffset()) {
                        findings.wrong.add(new AssertionError("after " + expected + " came " + message));
                    }
                    next.put(queue, message.getQueueOffset() + 1);
                }
            }
            return ConsumeOrderlyStatus.SUCCESS;
        });
        consumer.start();
        findings.tally.waitForDistinct(120);
        world.send(120, 180);
        findings.tally.waitForDistinct(180);
        findings.checkNothingWrong();
        findings.tally.checkOnce(0, 180);
    }

    /** Two broadcast consumers of a group: each gets everything. */
    static void broadcast(World world) throws Exception {
        world.createTopic(4);
        world.send(0, 50);
        Findings[] both = {new Findings(), new Findings()};
        for (Findings findings : both) {
            DefaultMQPushConsumer consumer = world.pushConsumer(world.group);
            setBroadcasting(consumer);
            consumer.subscribe(world.topic, "*");
            consumer.registerMessageListener(findings.listener(world));
            consumer.start();
        }
        world.send(50, 100);
        for (Findings findings : both) {
            findings.tally.waitForDistinct(100);
            findings.checkNothingWrong();
            findings.tally.checkOnce(0, 100);
        }
    }

    /** The enum moved to another package in 5.0. */
    static void setBroadcasting(DefaultMQPushConsumer consumer) throws Exception {
        for (var method : DefaultMQPushConsumer.class.getMethods()) {
            if (method.getName().equals("setMessageModel")) {
                for (Object model : method.getParameterTypes()[0].getEnumConstants()) {
                    if (model.toString().equals("BROADCASTING")) {
                        method.invoke(consumer, model);
                        return;
                    }
                }
            }
        }
        throw new IllegalStateException("no BROADCASTING");
    }

    /** Only subscribed tags arrive. */
    static void tags(World world) throws Exception {
        world.createTopic(4);
        world.send(0, 90);
        Findings wanted = new Findings();
        DefaultMQPushConsumer consumer = world.pushConsumer(world.group);
        Tally others = new Tally();
        consumer.subscribe(world.topic, "TagA || TagC");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            wanted.check(world, messages);
            messages.stream().filter(message -> message.getTags().equals("TagB")).forEach(message -> others.add(0));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        wanted.tally.waitForDistinct(60);
        // The last message has a wanted tag and the queues are read in order, so the unwanted ones have been passed by.
        world.send(90, 180);
        wanted.tally.waitForDistinct(120);
        wanted.checkNothingWrong();
        World.same(120, wanted.tally.distinct(), "different messages");
        World.same(0, others.distinct(), "messages of another tag");
    }

    /** A group goes on where it stopped, and takes nothing twice. */
    static void resume(World world) throws Exception {
        world.createTopic(4);
        world.send(0, 60);
        Findings first = new Findings();
        DefaultMQPushConsumer before = start(world, "*", first);
        first.tally.waitForDistinct(60);
        // The last message was counted before its offset was noted: without this the client may stop in between.
        before.setAwaitTerminationMillisWhenShutdown(10_000);
        before.shutdown();
        world.send(60, 100);
        Findings second = new Findings();
        start(world, "*", second);
        second.tally.waitForDistinct(40);
        first.checkNothingWrong();
        second.checkNothingWrong();
        first.tally.checkOnce(0, 60);
        second.tally.checkOnce(60, 100);
    }

    /** Consumers join and leave while messages flow: every queue has one owner in the end, and nothing is missed. */
    static void rebalance(World world) throws Exception {
        world.createTopic(6);
        Findings findings = new Findings();
        AtomicBoolean stop = new AtomicBoolean();
        int[] sent = {0};
        Thread sender = new Thread(() -> {
            try {
                while (!stop.get()) {
                    var result = world.producer().send(world.message(sent[0]));
                    World.same(SendStatus.SEND_OK, result.getSendStatus(), "status");
                    sent[0]++;
                    Thread.sleep(5);
                }
            } catch (Throwable failure) {
                findings.wrong.add(failure);
            }
        });
        world.producer();
        sender.start();
        DefaultMQPushConsumer one = start(world, "*", findings);
        // Six queues on each broker: they divide by one, two and three consumers.
        int all = world.pullConsumer("READ_" + world.topic).fetchSubscribeMessageQueues(world.topic).size();
        waitForShares(world, List.of(one), all);
        DefaultMQPushConsumer two = start(world, "*", findings);
        waitForShares(world, List.of(one, two), all / 2);
        DefaultMQPushConsumer three = start(world, "*", findings);
        waitForShares(world, List.of(one, two, three), all / 3);
        one.shutdown();
        waitForShares(world, List.of(two, three), all / 2);
        stop.set(true);
        sender.join();
        findings.tally.waitForDistinct(sent[0]);
        findings.checkNothingWrong();
        findings.tally.checkAtLeastOnce(0, sent[0]);
    }

    /** Waits until each consumer has {@code share} queues, all different. */
    static void waitForShares(World world, List<DefaultMQPushConsumer> consumers, int share) throws Exception {
        World.waitFor("share of " + share + " queues for each of " + consumers.size(), () -> {
            Set<MessageQueue> owned = new HashSet<>();
            for (DefaultMQPushConsumer consumer : consumers) {
                int count = 0;
                for (MessageQueue queue : consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl()
                    .getProcessQueueTable().keySet()) {
                    if (queue.getTopic().equals(world.topic)) {
                        owned.add(queue);
                        count++;
                    }
                }
                if (count != share) {
                    return null;
                }
            }
            return owned.size() == share * consumers.size() ? Boolean.TRUE : null;
        });
    }
}
