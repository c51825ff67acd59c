import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.function.Consumer;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * A master of two is killed and comes back while a group consumes. Whoever runs this does the killing: a scenario says how far it is by the
 * file TOPIC.STEP in the folder RINGMQ_STEPS, and goes on when the file STEP is there.
 */
final class Failing {
    /** Messages that may come twice in all: what was under way when a consumer or a broker went. */
    private static final int TWICE_MAX = 32;
    private static final String LOST = "broker-a";
    /** Delay levels of whoever runs this: {@code messageDelayLevel=1s 8s}. */
    private static final int SOON = 1;
    private static final int LATER = 2;
    private static final long LATER_MILLIS = 8_000;
    private static final int TRIES_AGAIN = 2;

    private Failing() {
    }

    /** The lost master has a slave: consumers read on from it, with offsets that survive both changes. */
    static void slaveConcurrent(World world) throws Exception {
        new Run(world, false).withSlave();
    }

    static void slaveOrderly(World world) throws Exception {
        new Run(world, true).withSlave();
    }

    /** It has none: its unread messages wait, and all sends go to the other master. */
    static void alone(World world) throws Exception {
        new Run(world, false).withoutSlave();
    }

    /** What waits on the lost master comes when it is back, and only then; what had come by then is read from its slave. */
    static void delayed(World world) throws Exception {
        new Run(world, false).delayed();
    }

    private static final class Run {
        final World world;
        final boolean orderly;
        /** Messages that the listener never takes, and how often it was asked to. */
        final Set<Integer> failing = ConcurrentHashMap.newKeySet();
        final Map<Integer, Integer> tries = new ConcurrentHashMap<>();
        final Map<Integer, Integer> counts = new ConcurrentHashMap<>();
        final Map<String, Long> next = new ConcurrentHashMap<>();
        final ConcurrentLinkedQueue<Throwable> wrong = new ConcurrentLinkedQueue<>();
        final DefaultMQProducer producer;
        int sent;

        Run(World world, boolean orderly) throws Exception {
            this.world = world;
            this.orderly = orderly;
            world.createTopic(2);
            producer = World.hasten(world.newProducer());
            producer.setRetryTimesWhenSendFailed(3);
            producer.setSendMsgTimeout(4_000);
            producer.start();
        }

        void withSlave() throws Exception {
            DefaultMQPushConsumer first = consumerThatLoses();
            waitForAll();
            send(40);
            waitForAll();
            stop(first);
            int twiceBefore = twice();
            // A consumer that starts while the master is gone asks the slave where the group stands.
            DefaultMQPushConsumer second = consumer();
            send(20);
            waitForAll();
            step("read", "returned");
            sendUntilBothTake();
            waitForAll();
            stop(second);
            int twiceReturned = twice();
            // And one that starts after its return asks the master.
            consumer();
            send(20);
            waitForAll();
            System.out.println("# " + world.topic + ": twice " + twiceBefore + ", " + twiceReturned + ", " + twice() + " of " + sent);
            checkAll();
        }

        void withoutSlave() throws Exception {
            consumerThatLoses();
            Set<String> brokers = send(40);
            World.check(!brokers.contains(LOST), "the lost master took a message");
            World.waitFor("messages of the other master", () -> counts.size() >= 100 + 40 ? Boolean.TRUE : null);
            World.check(counts.size() < sent, "what lies on the lost master came from somewhere");
            step("read", "returned");
            waitForAll();
            sendUntilBothTake();
            waitForAll();
            System.out.println("# " + world.topic + ": twice " + twice() + " of " + sent);
            checkAll();
        }

        void delayed() throws Exception {
            DefaultMQPushConsumer consumer = consumer();
            send(20);
            waitForAll();
            // Their second try waits at the broker when it is lost.
            sendEach(10, index -> failing.add(index), 0);
            World.waitFor("first tries", () -> tries.keySet().containsAll(failing) ? Boolean.TRUE : null);
            consumer.suspend();
            Set<Integer> soon = numbers(40);
            sendEach(40, index -> { }, SOON);
            Thread.sleep(2_000);
            Set<Integer> later = numbers(40);
            Set<Integer> elsewhere = sendEach(40, index -> { }, LATER);
            World.check(!elsewhere.isEmpty() && elsewhere.size() < later.size(), "one master has them all");
            step("sent", "killed");
            long killed = System.currentTimeMillis();
            consumer.resume();
            World.waitFor("what had come, and what the other master has", () -> {
                Set<Integer> seen = counts.keySet();
                return seen.containsAll(soon) && seen.containsAll(elsewhere) ? Boolean.TRUE : null;
            });
            Thread.sleep(Math.max(0, killed + LATER_MILLIS + 2_000 - System.currentTimeMillis()));
            later.retainAll(counts.keySet());
            World.same(elsewhere, later, "what waited and has come while its master is away");
            step("read", "returned");
            waitForAll();
            waitForDeadLetters();
            System.out.println("# " + world.topic + ": twice " + twice() + " of " + sent + ", tries " + tries);
            World.check(tries.values().stream().allMatch(count -> count > TRIES_AGAIN), "given up too early: " + tries);
            checkAll();
        }

        /** The numbers of the next messages. */
        Set<Integer> numbers(int count) {
            return IntStream.range(sent, sent + count).boxed().collect(Collectors.toCollection(TreeSet::new));
        }

        /** Sends the next messages with a delay level. Returns the numbers of those that the master has that stays. */
        Set<Integer> sendEach(int count, Consumer<Integer> before, int level) throws Exception {
            Set<Integer> elsewhere = new TreeSet<>();
            for (int i = 0; i < count; i++) {
                before.accept(sent);
                Message message = world.message(sent);
                message.setDelayTimeLevel(level);
                if (!producer.send(message).getMessageQueue().getBrokerName().equals(LOST)) {
                    elsewhere.add(sent);
                }
                sent++;
            }
            return elsewhere;
        }

        void waitForDeadLetters() throws Exception {
            Set<Integer> dead = ConcurrentHashMap.newKeySet();
            DefaultMQPushConsumer reading = World.hasten(world.pushConsumer("DEAD_" + world.group));
            reading.subscribe("%DLQ%" + world.group, "*");
            reading.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                messages.forEach(message -> dead.add(Integer.parseInt(message.getUserProperty("index"))));
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            reading.start();
            World.waitFor("dead letters " + failing, () -> dead.containsAll(failing) ? Boolean.TRUE : null);
            World.same(new TreeSet<>(failing), new TreeSet<>(dead), "dead letters");
        }

        /** A consumer that has a hundred messages read and a hundred before it when the broker is lost. */
        DefaultMQPushConsumer consumerThatLoses() throws Exception {
            DefaultMQPushConsumer made = consumer();
            send(100);
            waitForAll();
            // What is read before the loss is to be known to the broker; else it comes twice, however many that is.
            made.getDefaultMQPushConsumerImpl().persistConsumerOffset();
            made.suspend();
            send(100);
            step("sent", "killed");
            made.resume();
            return made;
        }

        DefaultMQPushConsumer consumer() throws Exception {
            DefaultMQPushConsumer made = World.hasten(world.pushConsumer(world.group));
            made.setPersistConsumerOffsetInterval(500);
            made.setMaxReconsumeTimes(TRIES_AGAIN);
            made.setAwaitTerminationMillisWhenShutdown(10_000);
            made.subscribe(world.topic, "*");
            if (orderly) {
                made.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
                    take(messages);
                    return ConsumeOrderlyStatus.SUCCESS;
                });
            } else {
                made.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                    int first = Integer.parseInt(messages.get(0).getUserProperty("index"));
                    if (failing.contains(first)) {
                        tries.merge(first, 1, Integer::sum);
                        context.setDelayLevelWhenNextConsume(LATER);
                        return ConsumeConcurrentlyStatus.RECONSUME_LATER;
                    }
                    take(messages);
                    return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
                });
            }
            made.start();
            return made;
        }

        void take(List<MessageExt> messages) {
            for (MessageExt message : messages) {
                try {
                    counts.merge(world.checkMessage(message), 1, Integer::sum);
                    if (orderly) {
                        String queue = message.getBrokerName() + message.getQueueId();
                        long expected = next.getOrDefault(queue, 0L);
                        if (message.getQueueOffset() > expected) {
                            wrong.add(new AssertionError("queue " + queue + " went on from " + expected + " with " + message));
                        }
                        next.put(queue, message.getQueueOffset() + 1);
                    }
                } catch (Throwable failure) {
                    wrong.add(failure);
                }
            }
        }

        /** Sends the next messages, each until a broker takes it. Returns the names of those that did. */
        Set<String> send(int count) throws Exception {
            Set<String> brokers = new HashSet<>();
            for (int i = 0; i < count; i++) {
                int index = sent;
                SendResult result = World.waitFor("broker that takes message " + index, () -> {
                    try {
                        return producer.send(world.message(index));
                    } catch (Exception refused) {
                        return null;
                    }
                });
                brokers.add(result.getMessageQueue().getBrokerName());
                sent++;
            }
            return brokers;
        }

        void sendUntilBothTake() throws Exception {
            World.waitFor("messages on both masters", () -> send(10).size() == 2 ? Boolean.TRUE : null);
        }

        void waitForAll() throws Exception {
            World.waitFor("all of " + sent + " messages; the last seen were " + counts.size(), () -> {
                if (!wrong.isEmpty()) {
                    throw new AssertionError("a listener found: " + wrong.peek());
                }
                return counts.size() >= sent - failing.size() ? Boolean.TRUE : null;
            });
        }

        void stop(DefaultMQPushConsumer consumer) throws Exception {
            // Commits leave oneway: the last of them is on its way when the client has closed.
            consumer.shutdown();
        }

        int twice() {
            return counts.values().stream().mapToInt(count -> count - 1).sum();
        }

        void checkAll() {
            World.check(wrong.isEmpty(), "a listener found: " + wrong.peek());
            World.same(sent - failing.size(), counts.size(), "different messages");
            World.check(twice() <= TWICE_MAX, twice() + " messages came twice");
        }

        void step(String reached, String awaited) throws Exception {
            Path steps = Path.of(System.getenv("RINGMQ_STEPS"));
            Files.createFile(steps.resolve(world.topic + "." + reached));
            World.waitFor("step " + awaited, () -> Files.exists(steps.resolve(awaited)) ? Boolean.TRUE : null);
        }
    }
}
