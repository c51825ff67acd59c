import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Messages that become visible later. The broker's levels must be {@link #LEVELS}. */
final class Delaying {
    /** {@code messageDelayLevel=1s 2s 1s 2s 3s 4s}: retries begin at level 3. Seconds by level; 0 is no delay. */
    private static final int[] LEVELS = {0, 1, 2, 1, 2, 3, 4};
    private static final int HIGHEST = LEVELS.length - 1;

    private Delaying() {
    }

    static long millis(int level) {
        return 1_000L * LEVELS[Math.min(level, HIGHEST)];
    }

    /** A message as it was sent, and as it arrived. */
    private static final class Delayed {
        final int level;
        final SendResult result;
        final long before;
        final long after;
        MessageExt arrived;

        Delayed(int level, SendResult result, long before, long after) {
            this.level = level;
            this.result = result;
            this.before = before;
            this.after = after;
        }
    }

    /** What one scenario sends and waits for. */
    private static final class Run {
        final World world;
        final Map<String, Delayed> sent = new TreeMap<>();
        final Map<String, MessageExt> arrived = new ConcurrentHashMap<>();
        final Map<String, Long> arrivedAt = new ConcurrentHashMap<>();
        final List<String> twice = new ArrayList<>();
        MessageQueue[] queues;

        Run(World world) {
            this.world = world;
        }

        /** A consumer that is there before anything is sent. */
        Run consuming(String group, String expression) throws Exception {
            DefaultMQPushConsumer consumer = World.hasten(world.pushConsumer(group));
            consumer.subscribe(world.topic, expression);
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                for (MessageExt message : messages) {
                    String key = message.getKeys();
                    arrivedAt.putIfAbsent(key, System.currentTimeMillis());
                    if (arrived.putIfAbsent(key, message) != null) {
                        twice.add(key);
                    }
                }
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            consumer.start();
            return this;
        }

        Run onTopic(int count) throws Exception {
            world.createTopic(count);
            queues = World.waitFor("route", () -> {
                List<MessageQueue> found = world.producer().fetchPublishMessageQueues(world.topic);
                return found.size() == count ? found.toArray(new MessageQueue[0]) : null;
            });
            return this;
        }

        Message message(String key, String tag) {
            Message message = new Message(world.topic, tag, key, ("body " + key).getBytes());
            message.putUserProperty("own", "Grüße " + key);
            message.setFlag(5);
            return message;
        }

        void send(String key, Message message, int effectiveLevel, int queue) throws Exception {
            long before = System.currentTimeMillis();
            SendResult result = world.producer().send(message, queues[queue]);
            sent.put(key, new Delayed(effectiveLevel, result, before, System.currentTimeMillis()));
            world.facts.name(result.getMsgId(), "<id " + key + ">");
        }

        void waitForAll() throws Exception {
            World.waitFor("all of " + sent.size() + " messages", () -> arrived.keySet().containsAll(sent.keySet()) ? Boolean.TRUE : null);
            World.check(twice.isEmpty(), "came twice: " + twice);
            sent.forEach((key, delayed) -> check(key, delayed));
        }

        /** Times and ids, which no two runs have in common. */
        void check(String key, Delayed delayed) {
            MessageExt message = delayed.arrived = arrived.get(key);
            long due = delayed.before + millis(delayed.level);
            World.check(arrivedAt.get(key) >= due, key + " came " + (due - arrivedAt.get(key)) + " ms early");
            long born = message.getBornTimestamp();
            World.check(born >= delayed.before && born <= delayed.after, key + " was born " + born + ", not when it was sent");
            World.check(message.getStoreTimestamp() >= born + millis(delayed.level), key + " was stored before its time");
            World.same(delayed.result.getMsgId(), message.getMsgId(), "id of " + key);
            if (delayed.level > 0) {
                World.check(!delayed.result.getOffsetMsgId().equals(offsetId(message)), key + " lies where it was sent to");
            } else {
                World.same(delayed.result.getOffsetMsgId(), offsetId(message), "place of " + key);
            }
        }

        /** What the producer was told, what it finds by that, and what the consumer got. */
        void tell(String key) throws Exception {
            Delayed delayed = sent.get(key);
            SendResult result = delayed.result;
            world.facts.tell(key + ": sent: " + result.getSendStatus() + " queue " + result.getMessageQueue().getQueueId());
            MessageExt stored = viewer().viewMessage(world.topic, result.getOffsetMsgId());
            World.same(result.getQueueOffset(), stored.getQueueOffset(), "queue offset of " + key);
            world.facts.tell(key + ": at the place of the answer: " + Facts.describe(stored));
            world.facts.tell(key + ": arrived: " + Facts.describe(delayed.arrived));
        }

        private DefaultMQPullConsumer viewer;

        DefaultMQPullConsumer viewer() throws Exception {
            if (viewer == null) {
                viewer = world.pullConsumer("VIEW_" + world.topic);
            }
            return viewer;
        }
    }

    /** What the broker calls a message by: its address and its place in the log. */
    private static String offsetId(MessageExt message) {
        return org.apache.rocketmq.common.message.MessageDecoder.createMessageId(message.getStoreHost(), message.getCommitLogOffset());
    }

    /** Each level at its time, each level in order, and for consumers nothing but the time differs. */
    static void levels(World world) throws Exception {
        Run run = new Run(world).onTopic(2).consuming(world.group, "TagA");
        int[] levels = {1, 2, HIGHEST, 0};
        for (int number = 0; number < 6; number++) {
            for (int level : levels) {
                String key = "level-" + level + "-" + number;
                Message message = run.message(key, "TagA");
                if (level > 0) {
                    message.setDelayTimeLevel(level);
                }
                run.send(key, message, level, level % 2);
            }
        }
        // No one waits for it: the tag decides after the delay as before it.
        Message other = run.message("other", "TagB");
        other.setDelayTimeLevel(1);
        world.producer().send(other, run.queues[0]);
        run.waitForAll();
        World.check(!run.arrived.containsKey("other"), "a message of another tag came");
        for (int level : levels) {
            run.tell("level-" + level + "-0");
            List<String> keys = new ArrayList<>(run.sent.keySet().stream().filter(key -> key.startsWith("level-" + level)).toList());
            keys.sort(Comparator.comparing(key -> run.arrived.get(key).getQueueOffset()));
            world.facts.tell("level " + level + " in the order of its queue: " + keys);
        }
        // The key index knows it by its own topic, once it is there.
        int found = World.waitFor("message by key", () -> {
            try {
                return world.producer().queryMessage(world.topic, "level-1-0", 32, 0, Long.MAX_VALUE).getMessageList().size();
            } catch (MQClientException notYet) {
                return null;
            }
        });
        world.facts.tell("found by key: " + found);
    }

    /** Levels that are none, and one above the highest. */
    static void oddLevels(World world) throws Exception {
        Run run = new Run(world).onTopic(1).consuming(world.group, "*");
        for (int level : new int[] {0, -1, HIGHEST + 1, 100}) {
            String key = "odd" + level;
            Message message = run.message(key, "TagA");
            message.setDelayTimeLevel(level);
            run.send(key, message, Math.max(level, 0), 0);
        }
        run.waitForAll();
        for (String key : run.sent.keySet()) {
            run.tell(key);
        }
    }

    /** Every way to send. */
    static void waysToSend(World world) throws Exception {
        Run run = new Run(world).onTopic(1).consuming(world.group, "*");
        Message oneway = run.message("oneway", "TagA");
        oneway.setDelayTimeLevel(1);
        long before = System.currentTimeMillis();
        world.producer().sendOneway(oneway);
        CountDownLatch answered = new CountDownLatch(1);
        AtomicReference<String> answer = new AtomicReference<>();
        Message asynchronous = run.message("async", "TagA");
        asynchronous.setDelayTimeLevel(1);
        world.producer().send(asynchronous, new SendCallback() {
            @Override
            public void onSuccess(SendResult result) {
                answer.set(result.getSendStatus().toString());
                answered.countDown();
            }

            @Override
            public void onException(Throwable failure) {
                answer.set(failure.toString());
                answered.countDown();
            }
        });
        World.check(answered.await(10, TimeUnit.SECONDS), "no answer");
        world.facts.tell("async: " + answer);
        List<Message> batch = new ArrayList<>();
        for (int number = 0; number < 3; number++) {
            Message message = run.message("batch-" + number, "TagA");
            message.setDelayTimeLevel(1);
            batch.add(message);
        }
        world.facts.tell("batch: " + refusal(() -> world.producer().send(batch)));
        World.waitFor("both messages", () -> run.arrived.size() >= 2 ? Boolean.TRUE : null);
        for (String key : List.of("oneway", "async")) {
            World.check(run.arrivedAt.get(key) >= before + millis(1), key + " came early");
            world.facts.name(run.arrived.get(key).getMsgId(), "<id " + key + ">");
            world.facts.tell(key + ": arrived: " + Facts.describe(run.arrived.get(key)));
        }
    }

    /** A topic that no one has made is there at once, and its message later. */
    static void autoCreated(World world) throws Exception {
        Message message = new Message(world.topic, "TagA", "new", "body new".getBytes());
        message.setDelayTimeLevel(1);
        long before = System.currentTimeMillis();
        SendResult result = world.producer().send(message);
        world.facts.name(result.getMsgId(), "<id>");
        Run run = new Run(world).consuming(world.group, "*");
        World.waitFor("message", () -> run.arrived.get("new"));
        World.check(run.arrivedAt.get("new") >= before + millis(1), "it came early");
        MessageExt arrived = run.arrived.get("new");
        World.same(result.getMessageQueue().getQueueId(), arrived.getQueueId(), "queue");
        world.facts.name(" queue " + arrived.getQueueId(), " queue <own>");
        world.facts.name("REAL_QID=" + arrived.getQueueId(), "REAL_QID=<own>");
        world.facts.tell("arrived: " + Facts.describe(arrived));
    }

    /** A producer that sends to a group's retry topic with a delay: the group gets it as something tried again. */
    static void toRetryTopic(World world) throws Exception {
        Run run = new Run(world).onTopic(1).consuming(world.group, "*");
        String retry = "%RETRY%" + world.group;
        World.waitFor("retry topic", () -> {
            try {
                return world.producer().fetchPublishMessageQueues(retry).isEmpty() ? null : Boolean.TRUE;
            } catch (MQClientException notYet) {
                return null;
            }
        });
        Message message = new Message(retry, "TagA", "retried", "body retried".getBytes());
        message.setDelayTimeLevel(2);
        long before = System.currentTimeMillis();
        SendResult result = world.producer().send(message);
        world.facts.name(result.getMsgId(), "<id>");
        World.waitFor("message", () -> run.arrived.get("retried"));
        World.check(run.arrivedAt.get("retried") >= before + millis(2), "it came early");
        world.facts.tell("sent: " + result.getSendStatus() + " queue " + result.getMessageQueue().getQueueId());
        world.facts.tell("arrived: " + Facts.describe(run.arrived.get("retried")));
    }

    /** How an attempt is refused, or that it is not. */
    private static String refusal(Attempt attempt) {
        try {
            return "not refused: " + attempt.make();
        } catch (Exception failure) {
            return failure.getClass().getSimpleName() + ": " + failure.getMessage();
        }
    }

    private interface Attempt {
        Object make() throws Exception;
    }
}
