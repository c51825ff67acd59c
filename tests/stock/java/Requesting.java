import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.RequestTimeoutException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.RequestCallback;
import org.apache.rocketmq.client.producer.RequestResponseFuture;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Requests: a message whose producer waits for an answer, which the consumer sends through the broker. */
final class Requesting {
    private static final long PATIENCE_MILLIS = 20_000;

    private Requesting() {
    }

    /** A consumer that answers each request, and what has become of its answers. */
    private static List<SendResult> startAnswering(World world) throws Exception {
        List<SendResult> results = new ArrayList<>();
        DefaultMQProducer answering = world.configure(new DefaultMQProducer("ANSWER_" + world.topic));
        world.atEnd(answering::shutdown);
        answering.start();
        DefaultMQPushConsumer consumer = world.pushConsumer(world.group);
        consumer.subscribe(world.topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt message : messages) {
                try {
                    Message answer = MessageUtil.createReplyMessage(message, ("answer to " + World.text(message)).getBytes(StandardCharsets.UTF_8));
                    SendResult result = answering.send(answer, 3_000);
                    synchronized (results) {
                        results.add(result);
                    }
                } catch (Exception failure) {
                    failure.printStackTrace();
                    return ConsumeConcurrentlyStatus.RECONSUME_LATER;
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        // It looks for its queues again after twenty seconds, which is all that a request has.
        Pushing.waitForShares(world, List.of(consumer), world.producer().fetchPublishMessageQueues(world.topic).size());
        return results;
    }

    private static Message request(World world, int index) {
        return new Message(world.topic, "TagA", ("request " + index).getBytes(StandardCharsets.UTF_8));
    }

    /** Makes a request to a queue, and hears of its end by a callback. */
    private static CompletableFuture<Message> start(World world, int index, long patienceMillis) throws Exception {
        List<MessageQueue> queues = world.producer().fetchPublishMessageQueues(world.topic);
        CompletableFuture<Message> answer = new CompletableFuture<>();
        world.producer().request(request(world, index), queues.get(index % queues.size()), new RequestCallback() {
            @Override
            public void onSuccess(Message message) {
                answer.complete(message);
            }

            @Override
            public void onException(Throwable failure) {
                answer.completeExceptionally(failure);
            }
        }, patienceMillis);
        return answer;
    }

    /** Client 5.3.3 gives up a request as soon as it is sent, unless it has both a queue and a callback (apache/rocketmq#9608). */
    private static boolean givesUpAtOnce() {
        return Arrays.stream(RequestResponseFuture.class.getMethods()).anyMatch(method -> method.getName().equals("acquireCountDownLatch"));
    }

    /** One request after the other, over all queues: each has its own answer, and the answer's sender hears that it was delivered. */
    static void sync(World world) throws Exception {
        world.createTopic(4);
        List<SendResult> results = startAnswering(world);
        for (int index = 0; index < 12; index++) {
            Message answer = givesUpAtOnce()
                ? start(world, index, PATIENCE_MILLIS).get()
                : world.producer().request(request(world, index), PATIENCE_MILLIS);
            World.same("answer to request " + index, World.text(answer), "answer");
        }
        World.waitFor("results of all answers", () -> {
            synchronized (results) {
                return results.size() == 12 ? Boolean.TRUE : null;
            }
        });
        for (SendResult result : results) {
            World.same(SendStatus.SEND_OK, result.getSendStatus(), "status of an answer");
        }
    }

    /** Several requests at once. */
    static void async(World world) throws Exception {
        world.createTopic(4);
        startAnswering(world);
        List<CompletableFuture<Message>> answers = new ArrayList<>();
        for (int index = 0; index < 12; index++) {
            answers.add(start(world, index, PATIENCE_MILLIS));
        }
        for (int index = 0; index < 12; index++) {
            Message answer = answers.get(index).get(PATIENCE_MILLIS, TimeUnit.MILLISECONDS);
            World.same("answer to request " + index, World.text(answer), "answer");
        }
    }

    /** Nobody answers: the client gives up by itself, after the time that it was given. */
    static void late(World world) throws Exception {
        world.createTopic(1);
        long start = System.nanoTime();
        try {
            start(world, 0, 1_500).get(PATIENCE_MILLIS, TimeUnit.MILLISECONDS);
        } catch (ExecutionException expected) {
            World.check(expected.getCause() instanceof RequestTimeoutException, "ended by " + expected.getCause());
            long millis = (System.nanoTime() - start) / 1_000_000;
            World.check(millis >= 1_400 && millis < 10_000, "gave up after " + millis + " ms");
            return;
        }
        throw new AssertionError("an answer that nobody sent");
    }
}
