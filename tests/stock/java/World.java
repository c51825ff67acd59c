import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.store.ReadOffsetType;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** What one scenario works with: names of its own, clients that are shut down at its end, and checks. */
final class World {
    /** Longest wait for anything. */
    static final long WAIT_MILLIS = 60_000;

    private static final AtomicInteger INSTANCES = new AtomicInteger();

    final String nameServer;
    final String topic;
    final String group;
    final Facts facts;
    private final List<Runnable> shutdowns = new ArrayList<>();
    private DefaultMQProducer producer;
    private DefaultMQPullConsumer reader;

    World(String nameServer, String prefix, String scenario) {
        this.nameServer = nameServer;
        this.topic = (prefix + "_" + scenario).replace('.', '_');
        this.group = "G_" + this.topic;
        this.facts = new Facts(scenario);
        // The longer name first, for it holds the other.
        facts.name(group, "<group>");
        facts.name(topic, "<topic>");
    }

    /** Name server and an instance name: clients of one name would share connections and one client id. */
    <C extends ClientConfig> C configure(C client) {
        client.setNamesrvAddr(nameServer);
        client.setInstanceName("stock-" + ProcessHandle.current().pid() + "-" + INSTANCES.incrementAndGet());
        return client;
    }

    /** The defaults of 30 s make a test long, and nothing else. */
    static <C extends ClientConfig> C hasten(C client) {
        client.setPollNameServerInterval(1_000);
        client.setHeartbeatBrokerInterval(1_000);
        return client;
    }

    /** Runs {@code shutdown} when the scenario ends, also when it fails. */
    void atEnd(Runnable shutdown) {
        shutdowns.add(0, shutdown);
    }

    DefaultMQProducer producer() throws Exception {
        if (producer == null) {
            producer = newProducer();
            producer.start();
        }
        return producer;
    }

    DefaultMQProducer newProducer() {
        DefaultMQProducer made = configure(new DefaultMQProducer("P_" + topic));
        // Retries would hide a lost answer behind a second copy of the message.
        made.setRetryTimesWhenSendFailed(0);
        made.setRetryTimesWhenSendAsyncFailed(0);
        made.setSendMsgTimeout(10_000);
        atEnd(made::shutdown);
        return made;
    }

    DefaultMQPushConsumer pushConsumer(String ownGroup) {
        DefaultMQPushConsumer made = configure(new DefaultMQPushConsumer(ownGroup));
        made.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        made.setConsumeThreadMin(4);
        made.setConsumeThreadMax(4);
        atEnd(made::shutdown);
        return made;
    }

    DefaultMQPullConsumer pullConsumer(String ownGroup) throws Exception {
        DefaultMQPullConsumer made = configure(new DefaultMQPullConsumer(ownGroup));
        atEnd(made::shutdown);
        made.start();
        return made;
    }

    DefaultLitePullConsumer litePullConsumer(String ownGroup) {
        DefaultLitePullConsumer made = configure(new DefaultLitePullConsumer(ownGroup));
        made.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        atEnd(made::shutdown);
        return made;
    }

    /** Creates the scenario's topic through the client's own admin call, whose signature changed in 5.0. */
    void createTopic(int queues) throws Exception {
        createTopic("TBW102", topic, queues);
    }

    void createTopic(String key, String name, int queues) throws Exception {
        for (Method method : DefaultMQProducer.class.getMethods()) {
            Class<?>[] types = method.getParameterTypes();
            if (!method.getName().equals("createTopic") || types.length < 3 || types[2] != int.class) {
                continue;
            }
            try {
                if (types.length == 3) {
                    method.invoke(producer(), key, name, queues);
                    return;
                } else if (types.length == 4 && types[3] == Map.class) {
                    method.invoke(producer(), key, name, queues, null);
                    return;
                }
            } catch (InvocationTargetException failure) {
                throw (Exception) failure.getCause();
            }
        }
        throw new IllegalStateException("no createTopic with three or four arguments");
    }

    /** Message number {@code index}: body, tag, key and a property all follow from it. */
    Message message(int index) {
        Message message = new Message(topic, tag(index), "key-" + index, body(index));
        message.putUserProperty("index", Integer.toString(index));
        message.putUserProperty("text", "Grüße 消息 " + index);
        return message;
    }

    static String tag(int index) {
        return "Tag" + (char) ('A' + index % 3);
    }

    static byte[] body(int index) {
        return ("body of message " + index + " äß消").getBytes(StandardCharsets.UTF_8);
    }

    /** Checks a message made by {@link #message} and returns its index. */
    int checkMessage(MessageExt message) {
        int index = Integer.parseInt(message.getUserProperty("index"));
        same(new String(body(index), StandardCharsets.UTF_8), text(message), "body of " + index);
        same(tag(index), message.getTags(), "tag of " + index);
        same("key-" + index, message.getKeys(), "key of " + index);
        same("Grüße 消息 " + index, message.getUserProperty("text"), "property of " + index);
        same(topic, message.getTopic(), "topic of " + index);
        return index;
    }

    static String text(Message message) {
        return new String(message.getBody(), StandardCharsets.UTF_8);
    }

    /** Sends messages {@code from..to} in turn and checks each answer. */
    List<SendResult> send(int from, int to) throws Exception {
        List<SendResult> results = new ArrayList<>();
        for (int index = from; index < to; index++) {
            SendResult result = producer().send(message(index));
            same(SendStatus.SEND_OK, result.getSendStatus(), "status of " + index);
            results.add(result);
        }
        return results;
    }

    /** Sends messages {@code from..to} to one queue. */
    void sendTo(MessageQueue queue, int from, int to) throws Exception {
        for (int index = from; index < to; index++) {
            SendResult result = producer().send(message(index), queue);
            same(SendStatus.SEND_OK, result.getSendStatus(), "status of " + index);
            same(queue, result.getMessageQueue(), "queue of " + index);
        }
    }

    /** All messages of the topic, each queue in order, once there are {@code count}. */
    Map<MessageQueue, List<MessageExt>> readAll(int count) throws Exception {
        if (reader == null) {
            reader = pullConsumer("READ_" + topic);
        }
        Map<MessageQueue, List<MessageExt>> queues = new TreeMap<>();
        Map<MessageQueue, Long> next = new TreeMap<>();
        for (MessageQueue queue : waitFor("queues of " + topic, () -> {
            try {
                Collection<MessageQueue> found = reader.fetchSubscribeMessageQueues(topic);
                return found == null || found.isEmpty() ? null : found;
            } catch (org.apache.rocketmq.client.exception.MQClientException unknown) {
                return null;
            }
        })) {
            queues.put(queue, new ArrayList<>());
            next.put(queue, 0L);
        }
        return waitFor(count + " messages of " + topic, () -> {
            int found = 0;
            for (MessageQueue queue : queues.keySet()) {
                readNew(queue, queues.get(queue), next);
                found += queues.get(queue).size();
            }
            check(found <= count, "found " + found + " messages instead of " + count);
            return found == count ? queues : null;
        });
    }

    private void readNew(MessageQueue queue, List<MessageExt> into, Map<MessageQueue, Long> next) throws Exception {
        while (true) {
            PullResult result = reader.pull(queue, "*", next.get(queue), 32);
            if (result.getPullStatus() != PullStatus.FOUND) {
                return;
            }
            for (MessageExt message : result.getMsgFoundList()) {
                same((long) into.size(), message.getQueueOffset(), "queue offset, without a gap, in " + queue);
                same(queue.getQueueId(), message.getQueueId(), "queue id");
                into.add(message);
            }
            next.put(queue, result.getNextBeginOffset());
        }
    }

    /** Reads all and checks that each index of {@code 0..count} is there once, in whatever order. */
    Map<MessageQueue, List<MessageExt>> readAndCheck(int count) throws Exception {
        Map<MessageQueue, List<MessageExt>> queues = readAll(count);
        Tally tally = new Tally();
        for (List<MessageExt> messages : queues.values()) {
            for (MessageExt message : messages) {
                tally.add(checkMessage(message));
            }
        }
        tally.checkOnce(0, count);
        return queues;
    }

    long committed(DefaultMQPullConsumer consumer, MessageQueue queue) throws Exception {
        return consumer.getDefaultMQPullConsumerImpl().getOffsetStore().readOffset(queue, ReadOffsetType.READ_FROM_STORE);
    }

    /** Waits until {@code attempt} gives something. */
    static <T> T waitFor(String what, Callable<T> attempt) throws Exception {
        long deadline = System.currentTimeMillis() + WAIT_MILLIS;
        while (true) {
            T result = attempt.call();
            if (result != null) {
                return result;
            }
            check(System.currentTimeMillis() < deadline, "after " + WAIT_MILLIS + " ms still no " + what);
            Thread.sleep(20);
        }
    }

    static void check(boolean condition, String message) {
        if (!condition) {
            throw new AssertionError(message);
        }
    }

    static void same(Object expected, Object found, String what) {
        check(expected.equals(found), what + ": expected " + expected + ", found " + found);
    }

    void close() {
        for (Runnable shutdown : shutdowns) {
            try {
                shutdown.run();
            } catch (RuntimeException failure) {
                failure.printStackTrace();
            }
        }
    }
}
