import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentSkipListSet;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Consumers that filter by SQL92, at a broker with {@code enablePropertyFilter=true}. */
final class Selecting {
    /** {@code SUBSCRIPTION_PARSE_FAILED}. */
    private static final int PARSE_FAILED = 23;
    private static final String WRONG = "index > 'ten'";

    private Selecting() {
    }

    /** A push consumer is given what matches, what was there before and what comes later. */
    static void push(World world) throws Exception {
        world.createTopic(4);
        world.send(0, 60);
        Set<Integer> found = new ConcurrentSkipListSet<>();
        start(world, world.pushConsumer(world.group), "(index BETWEEN 10 AND 19 OR index >= 70) AND TAGS IN ('TagA', 'TagB') AND text CONTAINS '消息'", found);
        World.waitFor("the first messages", () -> found.size() == 7 ? Boolean.TRUE : null);
        world.send(60, 80);
        Set<Integer> expected = Set.of(10, 12, 13, 15, 16, 18, 19, 70, 72, 73, 75, 76, 78, 79);
        World.waitFor("all messages of " + expected, () -> found.containsAll(expected) ? Boolean.TRUE : null);
        World.same(new TreeSet<>(expected), new TreeSet<>(found), "messages");
    }

    private static void start(World world, DefaultMQPushConsumer consumer, String expression, Set<Integer> found) throws Exception {
        consumer.subscribe(world.topic, MessageSelector.bySql(expression));
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt message : messages) {
                found.add(world.checkMessage(message));
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
    }

    /** Each of two broadcast consumers filters for itself. */
    static void broadcast(World world) throws Exception {
        world.createTopic(2);
        List<Set<Integer>> both = List.of(new ConcurrentSkipListSet<>(), new ConcurrentSkipListSet<>());
        for (Set<Integer> found : both) {
            DefaultMQPushConsumer consumer = world.pushConsumer(world.group);
            Pushing.setBroadcasting(consumer);
            start(world, consumer, "index >= 20 AND index < 24", found);
        }
        world.send(0, 40);
        for (Set<Integer> found : both) {
            World.waitFor("four messages", () -> found.size() == 4 ? Boolean.TRUE : null);
            World.same(new TreeSet<>(Set.of(20, 21, 22, 23)), new TreeSet<>(found), "messages");
        }
    }

    /** A pull brings its expression with it; what matches nothing gets on. */
    static void pull(World world) throws Exception {
        world.createTopic(1);
        DefaultMQPullConsumer consumer = world.pullConsumer(world.group);
        MessageQueue queue = consumer.fetchSubscribeMessageQueues(world.topic).iterator().next();
        world.sendTo(queue, 0, 30);
        World.waitFor("30 messages", () -> consumer.maxOffset(queue) == 30 ? Boolean.TRUE : null);
        // Its first heartbeat brings it the broker's version, before which it filters by tags alone.
        World.waitFor("the broker's version", () -> {
            try {
                return consumer.pull(queue, MessageSelector.bySql("TRUE"), 0, 1);
            } catch (MQClientException early) {
                return null;
            }
        });
        PullResult some = consumer.pull(queue, MessageSelector.bySql("index >= 5 AND index < 8"), 0, 32);
        World.same(PullStatus.FOUND, some.getPullStatus(), "status");
        World.same(30L, some.getNextBeginOffset(), "next offset");
        List<MessageExt> messages = some.getMsgFoundList();
        World.same(3, messages.size(), "messages");
        for (int i = 0; i < 3; i++) {
            World.same(5 + i, world.checkMessage(messages.get(i)), "message");
        }
        PullResult none = consumer.pull(queue, MessageSelector.bySql("colour = 'red'"), 0, 32);
        World.same(PullStatus.NO_MATCHED_MSG, none.getPullStatus(), "status without a match");
        World.same(30L, none.getNextBeginOffset(), "next offset without a match");
    }

    /** A balanced lite-pull consumer. */
    static void litePull(World world) throws Exception {
        world.createTopic(4);
        world.send(0, 60);
        DefaultLitePullConsumer consumer = world.litePullConsumer(world.group);
        consumer.subscribe(world.topic, MessageSelector.bySql("index IN ('3', '33') OR KEYS = 'key-47'"));
        consumer.start();
        Set<Integer> found = new TreeSet<>();
        World.waitFor("three messages", () -> {
            for (MessageExt message : consumer.poll(500)) {
                found.add(world.checkMessage(message));
            }
            return found.size() >= 3 ? Boolean.TRUE : null;
        });
        World.same(new TreeSet<>(Set.of(3, 33, 47)), found, "messages");
    }

    /** A wrong expression ends a consumer's start, with the broker's code. */
    static void wrong(World world) throws Exception {
        world.createTopic(1);
        expectCode(PARSE_FAILED, () -> start(world, world.pushConsumer(world.group), WRONG, new ConcurrentSkipListSet<>()));
        DefaultLitePullConsumer lite = world.litePullConsumer(world.group + "_lite");
        lite.subscribe(world.topic, MessageSelector.bySql(WRONG));
        expectCode(PARSE_FAILED, lite::start);
    }

    private interface Start {
        void run() throws Exception;
    }

    private static void expectCode(int code, Start start) throws Exception {
        try {
            start.run();
        } catch (MQClientException refused) {
            World.same(code, refused.getResponseCode(), "code");
            return;
        }
        throw new AssertionError("a consumer starts that must not");
    }
}
