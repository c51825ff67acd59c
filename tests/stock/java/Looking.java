import java.util.List;
import java.util.Set;
import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** What clients ask beside sending and consuming. */
final class Looking {
    private Looking() {
    }

    /** Creates through the route of the topic named like the cluster, as tools do, and changes the number of queues. */
    static void createTopic(World world) throws Exception {
        world.createTopic("DefaultCluster", world.topic, 3);
        checkQueues(world, 3);
        world.createTopic("DefaultCluster", world.topic, 5);
        checkQueues(world, 5);
    }

    private static void checkQueues(World world, int each) throws Exception {
        // On every broker of the cluster that many.
        World.waitFor(each + " queues on each broker", () -> {
            DefaultMQPullConsumer consumer = world.pullConsumer("READ_" + world.topic + each + System.nanoTime());
            try {
                Set<MessageQueue> queues = consumer.fetchSubscribeMessageQueues(world.topic);
                long brokers = queues.stream().map(MessageQueue::getBrokerName).distinct().count();
                return queues.size() == each * brokers ? Boolean.TRUE : null;
            } catch (org.apache.rocketmq.client.exception.MQClientException unknown) {
                return null;
            }
        });
    }

    /** A message by the broker's id, which holds the address and the place. */
    static void viewMessage(World world) throws Exception {
        world.createTopic(2);
        List<SendResult> results = world.send(0, 20);
        DefaultMQPullConsumer consumer = world.pullConsumer(world.group);
        for (int index = 0; index < 20; index++) {
            MessageExt message = consumer.viewMessage(world.topic, results.get(index).getOffsetMsgId());
            World.same(index, world.checkMessage(message), "message");
            World.same(results.get(index).getQueueOffset(), message.getQueueOffset(), "queue offset");
            World.same(results.get(index).getMsgId(), message.getMsgId(), "client's id");
        }
    }

    /** Messages by key and by the client's id, from the key index. */
    static void queryMessage(World world) throws Exception {
        world.createTopic(2);
        List<SendResult> results = world.send(0, 20);
        long end = System.currentTimeMillis() + 60_000;
        MessageExt found = World.waitFor("message by key", () -> {
            try {
                QueryResult result = world.producer().queryMessage(world.topic, "key-7", 32, 0, end);
                return result.getMessageList().get(0);
            } catch (org.apache.rocketmq.client.exception.MQClientException notYet) {
                return null;
            }
        });
        World.same(7, world.checkMessage(found), "message by key");
        MessageExt unique = world.producer().viewMessage(world.topic, results.get(3).getMsgId());
        World.same(3, world.checkMessage(unique), "message by the client's id");
    }

    /** Smallest, largest, and by time. */
    static void offsets(World world) throws Exception {
        world.createTopic(1);
        DefaultMQPullConsumer consumer = world.pullConsumer(world.group);
        MessageQueue queue = consumer.fetchSubscribeMessageQueues(world.topic).iterator().next();
        World.same(0L, consumer.minOffset(queue), "smallest offset of an empty queue");
        World.same(0L, consumer.maxOffset(queue), "largest offset of an empty queue");
        world.sendTo(queue, 0, 10);
        Thread.sleep(50);
        long between = System.currentTimeMillis();
        Thread.sleep(50);
        world.sendTo(queue, 10, 20);
        World.waitFor("20 messages", () -> consumer.maxOffset(queue) == 20 ? Boolean.TRUE : null);
        World.same(0L, consumer.minOffset(queue), "smallest offset");
        World.same(10L, consumer.searchOffset(queue, between), "offset by time");
        World.same(0L, consumer.searchOffset(queue, 0), "offset of the beginning of time");
        World.same(20L, consumer.searchOffset(queue, System.currentTimeMillis() + 60_000), "offset of the future");
        long stored = consumer.earliestMsgStoreTime(queue);
        World.check(stored > 0 && stored <= between, "time of the first message: " + stored);
    }
}
