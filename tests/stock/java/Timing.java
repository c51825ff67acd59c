import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;
import org.apache.rocketmq.common.message.MessageExt;

/** Messages that come at a time of their own. The broker must have {@code recallMessageEnable=true}. */
final class Timing {
    /** Longer than whatever is asked for here, and than the broker's steps. */
    private static final long STILL_MS = 2_500;

    private Timing() {
    }

    /** What differs from run to run: times of this age. */
    private static String timeless(String text) {
        return text.replaceAll("(?<![0-9A-F])1[6-9][0-9]{11}(?![0-9A-F])", "<time>");
    }

    static void all(World world) throws Exception {
        world.createTopic(1);
        Map<String, MessageExt> arrived = new ConcurrentHashMap<>();
        DefaultMQPushConsumer consumer = World.hasten(world.pushConsumer(world.group));
        consumer.subscribe(world.topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt message : messages) {
                World.check(arrived.put(message.getKeys(), message) == null, message.getKeys() + " came twice");
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        long now = System.currentTimeMillis();
        Map<String, Long> asked = new TreeMap<>();
        asked.put("seconds", send(world, "seconds", now + 2_000, "TIMER_DELAY_SEC", "2"));
        asked.put("milliseconds", send(world, "milliseconds", now + 1_700, "TIMER_DELAY_MS", "1700"));
        asked.put("moment", send(world, "moment", now + 3_300, "TIMER_DELIVER_MS", Long.toString(now + 3_300)));
        asked.put("seconds first", send(world, "seconds first", now + 1_000, "TIMER_DELAY_SEC", "1", "TIMER_DELAY_MS", "600000",
            "TIMER_DELIVER_MS", Long.toString(now + 600_000)));
        asked.put("past", send(world, "past", now - 1, "TIMER_DELIVER_MS", Long.toString(now - 5_000)));
        send(world, "too far", now, "TIMER_DELAY_SEC", "259201");
        send(world, "no number", now, "TIMER_DELAY_MS", "soon");
        recall(world, now);
        World.waitFor("all of " + asked.keySet(), () -> arrived.keySet().containsAll(asked.keySet()) ? Boolean.TRUE : null);
        Thread.sleep(STILL_MS);
        World.check(!arrived.containsKey("recalled"), "a message came that was recalled");
        asked.forEach((key, time) -> {
            MessageExt message = arrived.get(key);
            World.check(message.getStoreTimestamp() >= time, key + " was stored " + (time - message.getStoreTimestamp()) + " ms early");
            String out = message.getProperty("TIMER_OUT_MS");
            if (out != null) {
                World.check(Long.parseLong(out) % 1_000 == 0 && message.getStoreTimestamp() >= Long.parseLong(out) + 1_000, key + " waited for " + out);
            }
            world.facts.tell(key + ": arrived: " + timeless(Facts.describe(message)));
        });
        world.facts.tell("arrived: " + new TreeMap<>(arrived).keySet());
    }

    /** Sends one, and tells how that was answered. Returns the time that it asks for. */
    private static long send(World world, String key, long time, String... timers) throws Exception {
        Message message = new Message(world.topic, "TagA", key, ("body " + key).getBytes());
        for (int at = 0; at < timers.length; at += 2) {
            MessageAccessor.putProperty(message, timers[at], timers[at + 1]);
        }
        try {
            SendResult result = world.producer().send(message);
            world.facts.name(result.getMsgId(), "<id " + key + ">");
            world.facts.tell(key + ": " + result.getSendStatus() + " queue " + result.getMessageQueue().getQueueId());
            MessageExt stored = world.pullConsumer("VIEW_" + key.replace(' ', '_')).viewMessage(world.topic, result.getOffsetMsgId());
            world.facts.tell(key + ": at the place of the answer: " + timeless(Facts.describe(stored)));
        } catch (MQBrokerException refused) {
            world.facts.tell(key + ": refused with " + refused.getResponseCode());
        }
        return time;
    }

    /** Clients before 5.3 cannot recall. */
    private static void recall(World world, long now) throws Exception {
        Message message = new Message(world.topic, "TagA", "recalled", "body recalled".getBytes());
        MessageAccessor.putProperty(message, "TIMER_DELIVER_MS", Long.toString(now + 4_000));
        java.lang.reflect.Method recall;
        try {
            recall = DefaultMQProducer.class.getMethod("recallMessage", String.class, String.class);
        } catch (NoSuchMethodException older) {
            return;
        }
        SendResult result = world.producer().send(message);
        String handle = (String) SendResult.class.getMethod("getRecallHandle").invoke(result);
        String text = new String(java.util.Base64.getUrlDecoder().decode(handle));
        String broker = result.getMessageQueue().getBrokerName();
        world.facts.name(result.getMsgId(), "<id recalled>");
        world.facts.tell("handle: " + timeless(text.replace(" " + broker + " ", " <broker> ")));
        Object id = recall.invoke(world.producer(), world.topic, handle);
        World.same(result.getMsgId(), id, "what is recalled");
    }
}
