import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Transactions whose producer says how they end at once, when it is asked, or when it is asked again. Checks must come within seconds. */
final class Transacting {
    private static final int EACH = 4;

    private Transacting() {
    }

    /** What a key says first, and when it is asked. */
    private static final class Listener implements TransactionListener {
        final Map<String, Integer> asked = new ConcurrentHashMap<>();

        @Override
        public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
            World.check(message.getTransactionId() != null, "a transaction has an id");
            return said(message.getKeys().split("-")[0]);
        }

        @Override
        public LocalTransactionState checkLocalTransaction(MessageExt message) {
            int times = asked.merge(message.getKeys(), 1, Integer::sum);
            String[] words = message.getKeys().split("-");
            return words[1].equals("late") && times == 1 ? LocalTransactionState.UNKNOW : said(words[words.length - 2]);
        }

        private static LocalTransactionState said(String word) {
            return switch (word) {
                case "commit" -> LocalTransactionState.COMMIT_MESSAGE;
                case "rollback" -> LocalTransactionState.ROLLBACK_MESSAGE;
                default -> LocalTransactionState.UNKNOW;
            };
        }
    }

    /** What is committed arrives once, as it was sent; nothing else does. */
    static void all(World world) throws Exception {
        world.createTopic(2);
        Listener listener = new Listener();
        TransactionMQProducer producer = World.hasten(world.configure(new TransactionMQProducer("P_" + world.topic + "_tx")));
        producer.setTransactionListener(listener);
        world.atEnd(producer::shutdown);
        producer.start();
        // From the first words on: what it says at once, and what it says when it is asked.
        List<String> kinds = List.of("commit-", "rollback-", "unknown-commit-", "unknown-rollback-", "unknown-late-commit-");
        Set<String> expected = new TreeSet<>();
        for (String kind : kinds) {
            for (int i = 0; i < EACH; i++) {
                String key = kind + i;
                Message message = new Message(world.topic, "TagA", key, ("body " + key).getBytes());
                message.putUserProperty("own", "Grüße " + key);
                SendResult result = producer.sendMessageInTransaction(message, null);
                World.same(SendStatus.SEND_OK, result.getSendStatus(), "status of " + key);
                world.facts.name(result.getMsgId(), "<id " + key + ">");
                if (kind.endsWith("commit-")) {
                    expected.add(key);
                }
            }
        }
        world.readAll(expected.size());
        // Whatever else came would come by now.
        Thread.sleep(4_000);
        Map<String, MessageExt> arrived = new TreeMap<>();
        for (Map.Entry<MessageQueue, List<MessageExt>> queue : world.readAll(expected.size()).entrySet()) {
            for (MessageExt message : queue.getValue()) {
                World.check(message.getPreparedTransactionOffset() > 0, "a committed message names its half message");
                World.check(arrived.put(message.getKeys(), message) == null, message.getKeys() + " once");
            }
        }
        World.same(expected, arrived.keySet(), "what was committed");
        for (Map.Entry<String, MessageExt> one : arrived.entrySet()) {
            MessageExt message = one.getValue();
            world.facts.tell(one.getKey() + ": " + World.text(message) + " tags " + message.getTags() + " sysFlag " + message.getSysFlag()
                + " transaction " + message.getTransactionId() + " own " + message.getUserProperty("own"));
        }
        // Who ended at once may be asked as well where all of it takes a second.
        Map<String, Integer> asked = new TreeMap<>(listener.asked);
        asked.keySet().removeIf(key -> !key.startsWith("unknown"));
        world.facts.tell("asked " + asked);
    }
}
