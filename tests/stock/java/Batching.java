import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.store.ReadOffsetType;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * Batches that are stored whole. The topics are there, of one queue and of {@code queue.type=BatchCQ}, since clients before 5 cannot make them; but
 * {@link #autoPlain} makes its own.
 */
final class Batching {
    private Batching() {
    }

    private static MessageQueue queue(World world) throws Exception {
        return World.waitFor("the queue", () -> {
            try {
                List<MessageQueue> found = world.producer().fetchPublishMessageQueues(world.topic);
                return found.isEmpty() ? null : found.get(0);
            } catch (MQClientException notYet) {
                return null;
            }
        });
    }

    private static SendResult batch(World world, int from, int to) throws Exception {
        List<Message> messages = new ArrayList<>();
        for (int index = from; index < to; index++) {
            messages.add(world.message(index));
        }
        return world.producer().send(messages, queue(world));
    }

    /** All of a message but its ids and times. A body that was not taken apart is binary. */
    private static String told(MessageExt message) {
        Map<String, String> properties = new TreeMap<>(message.getProperties());
        properties.remove("__CRC32#");
        properties.replaceAll((name, value) -> name.equals("UNIQ_KEY") ? "<id>" : value);
        boolean isWhole = properties.containsKey("INNER_NUM");
        return "at " + message.getQueueOffset() + " sysFlag " + message.getSysFlag() + " flag " + message.getFlag() + " reconsumed "
            + message.getReconsumeTimes() + (isWhole ? " body of " + message.getBody().length + " bytes" : " body " + World.text(message))
            + " " + properties;
    }

    private static void tell(World world, String what, PullResult result) {
        world.facts.tell(what + ": " + result.getPullStatus() + " next " + result.getNextBeginOffset() + " min " + result.getMinOffset() + " max "
            + result.getMaxOffset() + ", " + (result.getMsgFoundList() == null ? 0 : result.getMsgFoundList().size()) + " messages");
    }

    /** What producers are answered, and what pulls get, from anywhere in a batch. */
    static void whole(World world) throws Exception {
        MessageQueue queue = queue(world);
        int[][] batches = {{0, 5}, {5, 8}, {8, 9}, {9, 14}};
        for (int[] range : batches) {
            SendResult result = batch(world, range[0], range[1]);
            world.facts.tell("sent " + range[0] + " to " + range[1] + ": " + result.getSendStatus() + " at " + result.getQueueOffset() + ", ids of the client "
                + result.getMsgId().split(",").length + ", of the broker " + result.getOffsetMsgId().split(",").length);
        }
        DefaultMQPullConsumer consumer = world.pullConsumer("PULL_" + world.topic);
        World.waitFor("all of them", () -> consumer.maxOffset(queue) == 14 ? Boolean.TRUE : null);
        PullResult all = consumer.pull(queue, "*", 0, 32);
        tell(world, "from 0", all);
        for (MessageExt message : all.getMsgFoundList()) {
            world.facts.tell(told(message));
        }
        for (int max : new int[] {1, 4, 5, 6, 8, 9}) {
            tell(world, "at most " + max + " from 0", consumer.pull(queue, "*", 0, max));
        }
        for (int from : new int[] {2, 4, 5, 7, 8, 13}) {
            tell(world, "from " + from, consumer.pull(queue, "*", from, 32));
        }
        tell(world, "from 14", consumer.pull(queue, "*", 14, 32));
        tell(world, "of a tag", consumer.pull(queue, "TagA", 0, 32));
        world.facts.tell("offsets " + consumer.minOffset(queue) + " to " + consumer.maxOffset(queue));
        world.facts.tell("of the far past " + consumer.searchOffset(queue, 1_000));
        world.facts.tell("of the far future " + consumer.searchOffset(queue, System.currentTimeMillis() + 1_000_000));
        MessageExt second = all.getMsgFoundList().get(1);
        world.facts.tell("by place: " + told(consumer.viewMessage(world.topic,
            org.apache.rocketmq.common.message.MessageDecoder.createMessageId(second.getStoreHost(), second.getCommitLogOffset()))));
    }

    /** An SQL92 expression is about a batch as brokers store it, not about its messages. */
    static void sql(World world) throws Exception {
        MessageQueue queue = queue(world);
        batch(world, 0, 3);
        batch(world, 3, 5);
        DefaultMQPullConsumer consumer = world.pullConsumer("PULL_" + world.topic);
        World.waitFor("all of them", () -> consumer.maxOffset(queue) == 5 ? Boolean.TRUE : null);
        // Its first heartbeat brings it the broker's version, before which it filters by tags alone.
        World.waitFor("a pull by expression", () -> {
            try {
                return consumer.pull(queue, MessageSelector.bySql("TRUE"), 0, 1);
            } catch (MQClientException notYet) {
                return null;
            }
        });
        for (String expression : new String[] {"INNER_NUM = 3", "INNER_NUM BETWEEN 2 AND 3", "index = 1", "index IS NULL", "TAGS = 'TagB'"}) {
            PullResult found = consumer.pull(queue, MessageSelector.bySql(expression), 0, 32);
            tell(world, expression, found);
            if (found.getMsgFoundList() != null) {
                for (MessageExt message : found.getMsgFoundList()) {
                    world.facts.tell(expression + ": " + World.text(message) + " at " + message.getQueueOffset());
                }
            }
        }
    }

    /** A batch that another producer has sent, which clients before 5 do not take apart. */
    static void read(World world) throws Exception {
        MessageQueue queue = queue(world);
        DefaultMQPullConsumer consumer = world.pullConsumer("PULL_" + world.topic);
        PullResult all = consumer.pull(queue, "*", 0, 32);
        tell(world, "from 0", all);
        for (MessageExt message : all.getMsgFoundList()) {
            world.facts.tell(told(message));
        }
    }

    /** A push consumer that fails once on one of a batch, always on another, and then goes on where it was. */
    static void pushed(World world) throws Exception {
        queue(world);
        Tally tally = new Tally();
        ConcurrentLinkedQueue<String> tries = new ConcurrentLinkedQueue<>();
        MessageListenerConcurrently listener = (messages, context) -> {
            MessageExt message = messages.get(0);
            String key = message.getKeys();
            if (key.equals("key-1") || key.equals("key-2")) {
                tries.add(key + " try " + message.getReconsumeTimes() + ": " + told(message).replaceAll("CONSUME_START_TIME=[0-9]+, ", "")
                    .replaceAll("M(AX|IN)_OFFSET=[0-9]+", "M$1_OFFSET=<offset>").replaceAll("at [0-9]+ sysFlag 0 ", "at <offset> sysFlag 0 "));
                if (key.equals("key-2") || message.getReconsumeTimes() == 0) {
                    return ConsumeConcurrentlyStatus.RECONSUME_LATER;
                }
            }
            tally.add(Integer.parseInt(message.getUserProperty("index")));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        };
        DefaultMQPushConsumer consumer = World.hasten(world.pushConsumer(world.group));
        consumer.subscribe(world.topic, "*");
        consumer.setMaxReconsumeTimes(1);
        consumer.registerMessageListener(listener);
        consumer.start();
        batch(world, 0, 6);
        batch(world, 6, 9);
        tally.waitForDistinct(8);
        DefaultMQPullConsumer reader = world.pullConsumer("DEAD_" + world.topic);
        List<MessageExt> dead = World.waitFor("the dead letter", () -> {
            try {
                for (MessageQueue queue : reader.fetchSubscribeMessageQueues("%DLQ%" + world.group)) {
                    PullResult result = reader.pull(queue, "*", 0, 32);
                    if (result.getPullStatus() == PullStatus.FOUND) {
                        return result.getMsgFoundList();
                    }
                }
            } catch (MQClientException notYet) {
                return null;
            }
            return null;
        });
        World.same(1, dead.size(), "dead letters");
        tries.stream().sorted().forEach(world.facts::tell);
        world.facts.tell("dead: " + dead.get(0).getKeys() + " body " + World.text(dead.get(0)));
        MessageQueue queue = queue(world);
        World.waitFor("all to be committed", () -> {
            consumer.getDefaultMQPushConsumerImpl().persistConsumerOffset();
            return consumer.getDefaultMQPushConsumerImpl().getOffsetStore().readOffset(queue, ReadOffsetType.READ_FROM_STORE) == 9 ? Boolean.TRUE : null;
        });
        consumer.shutdown();
        batch(world, 9, 12);
        DefaultMQPushConsumer next = World.hasten(world.pushConsumer(world.group));
        next.subscribe(world.topic, "*");
        next.registerMessageListener(listener);
        next.start();
        tally.waitForDistinct(11);
        Thread.sleep(500);
        for (int index = 0; index < 12; index++) {
            if (index != 2) {
                World.check(tally.count(index) == 1, "message " + index + " came " + tally.count(index) + " times");
            }
        }
    }

    /** A producer that gathers what is sent at about the same time into batches. Returns the answers. */
    private static List<SendResult> gathered(World world, int count) throws Exception {
        DefaultMQProducer producer = world.newProducer();
        producer.getClass().getMethod("setAutoBatch", boolean.class).invoke(producer, true);
        producer.getClass().getMethod("batchMaxDelayMs", int.class).invoke(producer, 200);
        producer.start();
        MessageQueue queue = queue(world);
        ConcurrentLinkedQueue<SendResult> results = new ConcurrentLinkedQueue<>();
        ConcurrentLinkedQueue<Throwable> failures = new ConcurrentLinkedQueue<>();
        CountDownLatch answers = new CountDownLatch(count);
        for (int index = 0; index < count; index++) {
            Message message = world.message(index);
            if (index % 4 == 3) {
                new Thread(() -> {
                    try {
                        results.add(producer.send(message));
                    } catch (Exception failure) {
                        failures.add(failure);
                    }
                    answers.countDown();
                }).start();
                continue;
            }
            producer.send(message, index % 4 == 2 ? queue : null, new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    results.add(result);
                    answers.countDown();
                }

                @Override
                public void onException(Throwable failure) {
                    failures.add(failure);
                    answers.countDown();
                }
            });
        }
        World.check(answers.await(World.WAIT_MILLIS, TimeUnit.MILLISECONDS), "answers are missing: " + answers);
        World.check(failures.isEmpty(), "a send failed: " + failures.peek());
        List<SendResult> sorted = new ArrayList<>(results);
        sorted.sort(Comparator.comparing(SendResult::getQueueOffset));
        return sorted;
    }

    /** Gathered into batches that are stored whole: one answer for all of a batch; consumers see messages, and filter by tag. */
    static void auto(World world) throws Exception {
        List<SendResult> results = gathered(world, 60);
        long answers = results.stream().map(SendResult::getQueueOffset).distinct().count();
        World.check(answers < 30, answers + " different answers to 60 messages: they were not gathered");
        Map<MessageQueue, List<MessageExt>> found = world.readAndCheck(60);
        World.same(1, found.size(), "queues");
        Tally tally = new Tally();
        DefaultMQPushConsumer consumer = World.hasten(world.pushConsumer(world.group));
        consumer.subscribe(world.topic, "TagB");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(message -> tally.add(world.checkMessage(message) / 3));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        tally.waitForDistinct(20);
        Thread.sleep(500);
        tally.checkOnce(0, 20);
        world.facts.tell("all came, and of a tag those that have it");
    }

    /** The same to a topic whose messages are stored one by one. */
    static void autoPlain(World world) throws Exception {
        world.createTopic(1);
        List<SendResult> results = gathered(world, 60);
        for (int at = 0; at < results.size(); at++) {
            World.same((long) at, results.get(at).getQueueOffset(), "offset of answer " + at);
            World.same(1, results.get(at).getMsgId().split(",").length, "ids of one answer");
        }
        Tally tally = new Tally();
        for (MessageExt message : world.readAll(60).values().iterator().next()) {
            // Apache gives each the keys and the id of its batch.
            int index = Integer.parseInt(message.getUserProperty("index"));
            World.same(new String(World.body(index), java.nio.charset.StandardCharsets.UTF_8), World.text(message), "body of " + index);
            tally.add(index);
        }
        tally.checkOnce(0, 60);
        world.facts.tell("all came");
    }
}
