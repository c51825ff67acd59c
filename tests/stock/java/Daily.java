import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragely;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** What applications use beside sending and consuming: namespaces, traces, other compressions; and orderly consumers that come, go and die. */
final class Daily {
    private static final String TRACE_TOPIC = "RMQ_SYS_TRACE_TOPIC";
    private static final long LOCK_EXPIRY_MILLIS = 60_000;

    private Daily() {
    }

    /** A namespace is a prefix of names that the application does not see; retries stay within it. */
    @SuppressWarnings("deprecation")
    static void namespace(World world) throws Exception {
        String space = "NS_" + world.topic;
        world.createTopic("TBW102", space + "%" + world.topic, 2);
        DefaultMQProducer producer = world.newProducer();
        producer.setNamespace(space);
        producer.start();
        Tally tally = new Tally();
        ConcurrentLinkedQueue<String> wrong = new ConcurrentLinkedQueue<>();
        AtomicBoolean failedOnce = new AtomicBoolean();
        DefaultMQPushConsumer consumer = world.pushConsumer(world.group);
        consumer.setNamespace(space);
        consumer.subscribe(world.topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt message : messages) {
                int index = Integer.parseInt(message.getUserProperty("index"));
                if (!message.getTopic().equals(world.topic)) {
                    wrong.add(message.getTopic());
                }
                if (index == 7 && failedOnce.compareAndSet(false, true)) {
                    context.setDelayLevelWhenNextConsume(1);
                    return ConsumeConcurrentlyStatus.RECONSUME_LATER;
                }
                tally.add(index);
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.setConsumeMessageBatchMaxSize(1);
        consumer.start();
        for (int index = 0; index < 20; index++) {
            World.same(SendStatus.SEND_OK, producer.send(world.message(index)).getSendStatus(), "status");
        }
        tally.waitForDistinct(20);
        World.check(failedOnce.get(), "one message was to fail");
        World.check(wrong.isEmpty(), "the application saw " + wrong.peek());
        tally.checkOnce(0, 20);
    }

    /** The second form of namespaces is told in headers; the names stay. */
    static void namespaceV2(World world) throws Exception {
        world.createTopic(2);
        DefaultMQProducer producer = world.newProducer();
        DefaultMQPushConsumer consumer = world.pushConsumer(world.group);
        try {
            for (ClientConfig client : List.of(producer, consumer)) {
                ClientConfig.class.getMethod("setNamespaceV2", String.class).invoke(client, "space");
            }
        } catch (NoSuchMethodException absent) {
            // 4.9.8 knows the first form alone.
        }
        producer.start();
        Tally tally = new Tally();
        consumer.subscribe(world.topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(message -> tally.add(world.checkMessage(message)));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        for (int index = 0; index < 20; index++) {
            World.same(SendStatus.SEND_OK, producer.send(world.message(index)).getSendStatus(), "status");
        }
        tally.waitForDistinct(20);
        tally.checkOnce(0, 20);
    }

    /** What a client traces is found by the id of the message. */
    static void trace(World world) throws Exception {
        world.createTopic(2);
        DefaultMQProducer producer = world.configure(new DefaultMQProducer("P_" + world.topic, null, true, null));
        world.atEnd(producer::shutdown);
        producer.start();
        DefaultMQPushConsumer consumer = world.configure(new DefaultMQPushConsumer(world.group, null, new AllocateMessageQueueAveragely(), true, null));
        world.atEnd(consumer::shutdown);
        Tally tally = new Tally();
        consumer.subscribe(world.topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(message -> tally.add(world.checkMessage(message)));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        SendResult sent = producer.send(world.message(0));
        tally.waitForDistinct(1);
        World.check(sent.isTraceOn(), "the broker says that traces are wanted");
        for (String kind : List.of("Pub", "SubBefore", "SubAfter")) {
            World.waitFor("trace " + kind, () -> {
                for (MessageExt found : traces(world, sent.getMsgId())) {
                    String text = new String(found.getBody(), StandardCharsets.UTF_8);
                    if (text.contains(kind + "\u0001") && text.contains(sent.getMsgId())) {
                        return Boolean.TRUE;
                    }
                }
                return null;
            });
        }
    }

    private static List<MessageExt> traces(World world, String id) throws Exception {
        try {
            return world.producer().queryMessage(TRACE_TOPIC, id, 32, 0, System.currentTimeMillis() + 60_000).getMessageList();
        } catch (MQClientException absent) {
            // The topic comes to be by the first trace.
            return List.of();
        }
    }

    /** Bodies compressed in each way arrive as they were. */
    static void compressions(World world) throws Exception {
        world.createTopic(2);
        byte[] body = "the same words again and again, ".repeat(4_000).getBytes(StandardCharsets.UTF_8);
        int count = 0;
        for (String kind : List.of("ZLIB", "LZ4", "ZSTD")) {
            DefaultMQProducer producer = world.newProducer();
            if (!setCompression(producer, kind) && !kind.equals("ZLIB")) {
                continue;
            }
            producer.start();
            Message message = world.message(count++);
            message.setBody(body);
            World.same(SendStatus.SEND_OK, producer.send(message).getSendStatus(), "status of " + kind);
        }
        int found = 0;
        for (List<MessageExt> messages : world.readAll(count).values()) {
            for (MessageExt message : messages) {
                World.check(java.util.Arrays.equals(body, message.getBody()), "a body changed");
                World.check(message.getStoreSize() < body.length / 10, "a body was not compressed");
                found++;
            }
        }
        World.same(count, found, "messages");
    }

    /** 4.9.8 has one compression alone. */
    private static boolean setCompression(DefaultMQProducer producer, String kind) throws Exception {
        for (var method : DefaultMQProducer.class.getMethods()) {
            if (method.getName().equals("setCompressType")) {
                for (Object type : method.getParameterTypes()[0].getEnumConstants()) {
                    if (type.toString().equals(kind)) {
                        method.invoke(producer, type);
                        return true;
                    }
                }
            }
        }
        return false;
    }

    /** Who consumes which queue, and how far it has come. */
    private static final class Watch {
        final ConcurrentLinkedQueue<String> wrong = new ConcurrentLinkedQueue<>();
        final Tally tally = new Tally();
        private final Map<MessageQueue, Integer> busy = new HashMap<>();
        private final Map<MessageQueue, Integer> last = new HashMap<>();
        private final Map<MessageQueue, Long> next = new HashMap<>();

        synchronized void enter(int consumer, MessageQueue queue) {
            Integer other = busy.put(queue, consumer);
            if (other != null) {
                wrong.add(queue + " is consumed by " + consumer + " while " + other + " consumes it");
            }
        }

        synchronized void leave(World world, int consumer, MessageQueue queue, List<MessageExt> messages) {
            for (MessageExt message : messages) {
                long expected = next.getOrDefault(queue, 0L);
                boolean isNewOwner = !Integer.valueOf(consumer).equals(last.get(queue));
                // A new owner may see again what the last one did not commit; nobody leaves anything out.
                if (message.getQueueOffset() > expected || (!isNewOwner && message.getQueueOffset() != expected)) {
                    wrong.add(consumer + " got " + message.getQueueOffset() + " of " + queue + " after " + (expected - 1));
                }
                last.put(queue, consumer);
                next.put(queue, message.getQueueOffset() + 1);
                tally.add(world.checkMessage(message));
            }
            busy.remove(queue);
        }
    }

    private static DefaultMQPushConsumer startOrderly(World world, int number, Watch watch) throws Exception {
        DefaultMQPushConsumer consumer = world.pushConsumer(world.group);
        consumer.subscribe(world.topic, "*");
        consumer.setConsumeMessageBatchMaxSize(1);
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            watch.enter(number, context.getMessageQueue());
            try {
                Thread.sleep(2);
            } catch (InterruptedException stopped) {
                Thread.currentThread().interrupt();
            }
            watch.leave(world, number, context.getMessageQueue(), messages);
            return ConsumeOrderlyStatus.SUCCESS;
        });
        consumer.start();
        return consumer;
    }

    /** Orderly consumers join, leave and die while messages flow: a queue never has two owners, and nothing comes out of its order. */
    static void orderlyHandover(World world) throws Exception {
        world.createTopic(4);
        Watch watch = new Watch();
        AtomicBoolean stop = new AtomicBoolean();
        int[] sent = {0};
        Thread sender = new Thread(() -> {
            try {
                while (!stop.get()) {
                    World.same(SendStatus.SEND_OK, world.producer().send(world.message(sent[0])).getSendStatus(), "status");
                    sent[0]++;
                    Thread.sleep(10);
                }
            } catch (Throwable failure) {
                watch.wrong.add(failure.toString());
            }
        });
        world.producer();
        sender.start();
        startOrderly(world, 1, watch);
        watch.tally.waitForDistinct(100);
        DefaultMQPushConsumer leaving = startOrderly(world, 2, watch);
        waitForQueues(world, leaving);
        watch.tally.waitForDistinct(sent[0] + 100);
        leaving.shutdown();
        watch.tally.waitForDistinct(sent[0] + 100);
        DefaultMQPushConsumer dying = startOrderly(world, 3, watch);
        waitForQueues(world, dying);
        watch.tally.waitForDistinct(sent[0] + 100);
        // Its connections are gone, and what it has locked stays locked until that expires.
        dying.getDefaultMQPushConsumerImpl().getmQClientFactory().getMQClientAPIImpl().getRemotingClient().shutdown();
        Thread.sleep(5_000);
        World.check(watch.tally.distinct() < sent[0] - 100, "what is locked is not consumed: " + watch.tally.distinct());
        stop.set(true);
        sender.join();
        long deadline = System.currentTimeMillis() + LOCK_EXPIRY_MILLIS + 60_000;
        while (watch.tally.distinct() < sent[0] && System.currentTimeMillis() < deadline) {
            Thread.sleep(100);
        }
        World.check(watch.wrong.isEmpty(), "found: " + watch.wrong.peek());
        watch.tally.checkAtLeastOnce(0, sent[0]);
    }

    private static void waitForQueues(World world, DefaultMQPushConsumer consumer) throws Exception {
        World.waitFor("queues", () -> {
            long locked = consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().entrySet().stream()
                .filter(entry -> entry.getKey().getTopic().equals(world.topic) && entry.getValue().isLocked()).count();
            return locked >= 2 ? Boolean.TRUE : null;
        });
    }
}
