import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentSkipListMap;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.message.MessageExt;

/** A push consumer that an operator asks, through the broker, while it runs: {@code tests/client_calls.rs} is the operator. */
final class Called {
    /** Messages that the operator sends. */
    private static final int COUNT = 10;

    private Called() {
    }

    /**
     * Consumes each message, once more the one that the operator hands to it directly, and all of them again when the operator sets the group
     * back to the beginning.
     */
    static void called(World world) throws Exception {
        world.createTopic(2);
        Map<String, Integer> seen = new ConcurrentSkipListMap<>();
        DefaultMQPushConsumer consumer = world.pushConsumer(world.group);
        consumer.subscribe(world.topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt message : messages) {
                seen.merge(World.text(message), 1, Integer::sum);
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        World.waitFor("each message, and one of them once more", () -> total(seen) > COUNT && seen.size() == COUNT ? seen : null);
        Map<String, Integer> all = World.waitFor("each message once more", () -> {
            boolean each = seen.values().stream().allMatch(times -> times >= 2);
            return each && total(seen) > 2 * COUNT ? new TreeMap<>(seen) : null;
        });
        World.same(2 * COUNT + 1, total(all), "deliveries of " + all);
        World.same(3, all.get("body 0"), "deliveries of the one that was handed over");
    }

    private static int total(Map<String, Integer> seen) {
        return seen.values().stream().mapToInt(Integer::intValue).sum();
    }
}
