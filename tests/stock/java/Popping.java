import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Push consumers in POP mode: they ask their broker for their queues, and get messages for a while. Clients before 5 cannot. */
final class Popping {
    /** Longer than the brokers take to give something again. */
    private static final long STILL_MS = 6_000;

    private Popping() {
    }

    /** What differs from run to run. */
    private static String timeless(String text) {
        return text.replaceAll("POP_CK=[^,}]*", "POP_CK=<handle>").replaceAll("(?<![0-9A-F])1[6-9][0-9]{11}(?![0-9A-F])", "<time>");
    }

    private static Object call(Object target, String name, Object... arguments) throws Exception {
        for (Method method : target.getClass().getMethods()) {
            if (method.getName().equals(name) && method.getParameterCount() == arguments.length) {
                return method.invoke(target, arguments);
            }
        }
        throw new IllegalStateException(target.getClass() + " has no " + name);
    }

    /** How a group gets the messages of the scenario's topic from now on, on all brokers. */
    @SuppressWarnings({"unchecked", "rawtypes"})
    private static void mode(World world, String mode, int shares) throws Exception {
        DefaultMQProducer producer = world.producer();
        Object factory = call(call(producer, "getDefaultMQProducerImpl"), "getmQClientFactory");
        call(factory, "updateTopicRouteInfoFromNameServer", world.topic);
        Class modes = Class.forName("org.apache.rocketmq.common.message.MessageRequestMode");
        for (MessageQueue queue : producer.fetchPublishMessageQueues(world.topic)) {
            if (queue.getQueueId() == 0) {
                Object address = call(factory, "findBrokerAddressInPublish", queue.getBrokerName());
                call(call(factory, "getMQClientAPIImpl"), "setMessageRequestMode", address, world.topic, world.group,
                    Enum.valueOf(modes, mode), shares, 5_000L);
            }
        }
    }

    /** A consumer whose failures come again after a second. */
    private static DefaultMQPushConsumer consumer(World world, long invisibleMs, MessageListenerConcurrently listener) throws Exception {
        DefaultMQPushConsumer consumer = World.hasten(world.pushConsumer(world.group));
        call(consumer, "setClientRebalance", false);
        call(consumer, "setPopInvisibleTime", invisibleMs);
        Object inner = call(consumer, "getDefaultMQPushConsumerImpl");
        Field levels = inner.getClass().getDeclaredField("popDelayLevel");
        levels.setAccessible(true);
        Arrays.fill((int[]) levels.get(inner), 1);
        consumer.setMaxReconsumeTimes(2);
        consumer.subscribe(world.topic, "*");
        consumer.registerMessageListener(listener);
        return consumer;
    }

    private static List<MessageQueue> queues(World world) throws Exception {
        List<MessageQueue> queues = new ArrayList<>(world.producer().fetchPublishMessageQueues(world.topic));
        Collections.sort(queues);
        return queues;
    }

    /** Messages that were there before, and that come later, each once. */
    static void handedOut(World world) throws Exception {
        world.createTopic(4);
        mode(world, "POP", -1);
        Tally tally = new Tally();
        Map<Integer, String> described = new ConcurrentHashMap<>();
        DefaultMQPushConsumer consumer = consumer(world, 60_000, (messages, context) -> {
            for (MessageExt message : messages) {
                int index = world.checkMessage(message);
                described.put(index, timeless(Facts.describe(message)));
                tally.add(index);
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        for (MessageQueue queue : queues(world)) {
            world.sendTo(queue, 5 * queue.getQueueId(), 5 * queue.getQueueId() + 5);
        }
        consumer.start();
        World.waitFor("what was there", () -> described.size() == 20 ? Boolean.TRUE : null);
        for (MessageQueue queue : queues(world)) {
            world.sendTo(queue, 20 + 5 * queue.getQueueId(), 25 + 5 * queue.getQueueId());
        }
        World.waitFor("what came later", () -> described.size() == 40 ? Boolean.TRUE : null);
        Thread.sleep(STILL_MS);
        tally.checkOnce(0, 40);
        for (String text : new TreeMap<>(described).values()) {
            world.facts.tell(text.replaceAll("UNIQ_KEY=[^,}]*", "UNIQ_KEY=<id>").replaceAll(" id [0-9A-F]+", ""));
        }
    }

    /** Messages that fail, once or always. */
    static void failing(World world) throws Exception {
        world.createTopic(1);
        mode(world, "POP", -1);
        Map<String, Integer> tries = new ConcurrentHashMap<>();
        Map<String, String> described = new ConcurrentHashMap<>();
        DefaultMQPushConsumer consumer = consumer(world, 60_000, (messages, context) -> {
            String key = messages.get(0).getKeys();
            int nth = tries.merge(key, 1, Integer::sum);
            for (MessageExt message : messages) {
                described.put(key + ", try " + nth, timeless(Facts.describe(message)));
            }
            if (key.equals("key-3")) {
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            }
            if (key.equals("key-2") && nth == 1) {
                throw new IllegalStateException("on purpose");
            }
            return key.equals("key-1") && nth < 3 ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        for (int index = 0; index < 4; index++) {
            world.facts.name(world.send(index, index + 1).get(0).getMsgId(), "<id " + index + ">");
        }
        Map<String, Integer> expected = Map.of("key-0", 1, "key-1", 3, "key-2", 2);
        World.waitFor("all tries, and not " + tries, () -> tries.entrySet().containsAll(expected.entrySet()) && tries.getOrDefault("key-3", 0) >= 3
            ? Boolean.TRUE : null);
        Thread.sleep(STILL_MS);
        for (Map.Entry<String, String> entry : new TreeMap<>(described).entrySet()) {
            world.facts.tell(entry.getKey() + ": " + entry.getValue());
        }
        world.facts.tell("tries: " + new TreeMap<>(tries));
        String dead = "dead letters are there";
        try {
            world.pullConsumer("LOOK_" + world.topic).fetchSubscribeMessageQueues("%DLQ%" + world.group);
        } catch (MQClientException none) {
            dead = "no dead letters";
        }
        world.facts.tell(dead);
    }

    /** Four consumers, each with its own queues and those of the next one; one of them goes; then they pull. */
    static void shared(World world) throws Exception {
        world.createTopic(6);
        mode(world, "POP", 1);
        Tally tally = new Tally();
        Map<Integer, Boolean> seen = new ConcurrentHashMap<>();
        MessageListenerConcurrently listener = (messages, context) -> {
            for (MessageExt message : messages) {
                int index = world.checkMessage(message);
                seen.put(index, true);
                if (index < 60) {
                    tally.add(index);
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        };
        List<DefaultMQPushConsumer> consumers = new ArrayList<>();
        for (int at = 0; at < 4; at++) {
            consumers.add(consumer(world, 10_000, listener));
            consumers.get(at).start();
        }
        world.send(0, 60);
        World.waitFor("all, and not " + seen.size(), () -> seen.size() == 60 ? Boolean.TRUE : null);
        Thread.sleep(STILL_MS);
        // A pop of it may still be held: what that gets comes again after its time.
        consumers.get(0).shutdown();
        world.send(60, 100);
        World.waitFor("all that came later", () -> seen.size() == 100 ? Boolean.TRUE : null);
        tally.checkOnce(0, 60);
        mode(world, "PULL", 0);
        world.send(100, 130);
        World.waitFor("all that were pulled", () -> seen.size() == 130 ? Boolean.TRUE : null);
        world.facts.tell("all came");
    }
}
