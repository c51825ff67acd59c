import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Ways to send; what was sent is then read back, every queue from its start. */
final class Sending {
    private Sending() {
    }

    /** Answers name the place of each message: ids differ, offsets per queue rise without a gap. */
    static void sync(World world) throws Exception {
        world.createTopic(4);
        List<SendResult> results = world.send(0, 100);
        Map<MessageQueue, List<MessageExt>> queues = world.readAndCheck(100);
        // Four on each broker.
        World.same(0, queues.size() % 4, "queues beyond a multiple of four");
        for (SendResult result : results) {
            MessageExt stored = queues.get(result.getMessageQueue()).get((int) result.getQueueOffset());
            World.same(result.getMsgId(), stored.getMsgId(), "client's id of the message");
            World.same("DefaultRegion", result.getRegionId(), "region");
        }
        World.same(100L, results.stream().map(SendResult::getOffsetMsgId).distinct().count(), "different broker ids");
    }

    static void async(World world) throws Exception {
        world.createTopic(4);
        int count = 400;
        CountDownLatch answers = new CountDownLatch(count);
        ConcurrentLinkedQueue<Throwable> failures = new ConcurrentLinkedQueue<>();
        // Below the limit at which a broker may say that it is busy.
        Semaphore inFlight = new Semaphore(100);
        for (int index = 0; index < count; index++) {
            inFlight.acquire();
            world.producer().send(world.message(index), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    if (result.getSendStatus() != SendStatus.SEND_OK) {
                        failures.add(new IllegalStateException(result.toString()));
                    }
                    inFlight.release();
                    answers.countDown();
                }

                @Override
                public void onException(Throwable failure) {
                    failures.add(failure);
                    inFlight.release();
                    answers.countDown();
                }
            });
        }
        World.check(answers.await(World.WAIT_MILLIS, TimeUnit.MILLISECONDS), "answers are missing: " + answers);
        World.check(failures.isEmpty(), "a send failed: " + failures.peek());
        world.readAndCheck(count);
    }

    static void oneway(World world) throws Exception {
        world.createTopic(4);
        for (int index = 0; index < 100; index++) {
            world.producer().sendOneway(world.message(index));
        }
        world.readAndCheck(100);
    }

    /** A batch is stored as separate messages, side by side in one queue. */
    static void batch(World world) throws Exception {
        world.createTopic(2);
        List<Message> batch = new ArrayList<>();
        for (int index = 0; index < 50; index++) {
            batch.add(world.message(index));
        }
        SendResult result = world.producer().send(batch);
        World.same(SendStatus.SEND_OK, result.getSendStatus(), "status");
        World.same(50, result.getOffsetMsgId().split(",").length, "broker ids in " + result.getOffsetMsgId());
        World.same(50, result.getMsgId().split(",").length, "client ids in " + result.getMsgId());
        List<MessageExt> stored = world.readAndCheck(50).get(result.getMessageQueue());
        World.same(50, stored.size(), "messages in the batch's queue");
        for (int index = 0; index < 50; index++) {
            World.same(index, world.checkMessage(stored.get(index)), "order in the batch");
        }
        SendResult second = world.producer().send(List.of(world.message(50)), result.getMessageQueue());
        World.same(50L, second.getQueueOffset(), "offset after the batch");
    }

    /** A selector sends each order's steps to one queue, where they keep their order. */
    static void ordered(World world) throws Exception {
        world.createTopic(4);
        int orders = 8;
        for (int index = 0; index < 160; index++) {
            SendResult result = world.producer().send(
                world.message(index), (queues, message, order) -> queues.get((int) order % queues.size()), index % orders);
            World.same(SendStatus.SEND_OK, result.getSendStatus(), "status of " + index);
        }
        Map<Integer, Integer> last = new HashMap<>();
        for (List<MessageExt> messages : world.readAndCheck(160).values()) {
            for (MessageExt message : messages) {
                int index = world.checkMessage(message);
                Integer before = last.put(index % orders, index);
                World.check(before == null || before < index, index + " came after " + before);
            }
        }
    }

    /** From 4 KiB on the client compresses; incompressible, empty-ish and near-limit bodies arrive whole as well. */
    static void large(World world) throws Exception {
        world.createTopic(2);
        byte[][] bodies = {text(4095), text(4096), text(100_000), text(3_000_000), noise(5_000), noise(1_000_000), noise(1)};
        for (int index = 0; index < bodies.length; index++) {
            Message message = world.message(index);
            message.setBody(bodies[index]);
            World.same(SendStatus.SEND_OK, world.producer().send(message).getSendStatus(), "status of " + index);
        }
        for (List<MessageExt> messages : world.readAll(bodies.length).values()) {
            for (MessageExt message : messages) {
                int index = Integer.parseInt(message.getUserProperty("index"));
                World.check(java.util.Arrays.equals(bodies[index], message.getBody()), "body " + index + " changed");
                if (index == 2 || index == 3) {
                    World.check(message.getStoreSize() < bodies[index].length / 10, "body " + index + " was not compressed");
                }
            }
        }
    }

    private static byte[] text(int length) {
        byte[] body = new byte[length];
        for (int i = 0; i < length; i++) {
            body[i] = (byte) ('a' + i % 26);
        }
        return body;
    }

    private static byte[] noise(int length) {
        byte[] body = new byte[length];
        new Random(length).nextBytes(body);
        return body;
    }

    /** The VIP channel: the same requests on the port two below. */
    static void vip(World world) throws Exception {
        world.createTopic(2);
        DefaultMQProducer vip = world.newProducer();
        vip.setVipChannelEnabled(true);
        vip.start();
        for (int index = 0; index < 20; index++) {
            World.same(SendStatus.SEND_OK, vip.send(world.message(index)).getSendStatus(), "status of " + index);
        }
        world.readAndCheck(20);
    }

    /** The first message to an unknown topic creates it, with as many queues as the producer asks for. */
    static void autoCreate(World world) throws Exception {
        world.send(0, 40);
        int queues = world.readAndCheck(40).size();
        World.check(queues % world.producer().getDefaultTopicQueueNums() == 0, queues + " queues were created");
    }
}
