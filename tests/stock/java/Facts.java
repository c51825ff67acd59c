import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** What a scenario saw, in lines that are the same on every broker and in every run: ids and names of a run are replaced by words. */
final class Facts {
    /** Properties whose values are times or depend on what else the broker holds; that they are there counts. */
    private static final Set<String> MASKED = Set.of("CONSUME_START_TIME", "MIN_OFFSET", "MAX_OFFSET");
    /** The broker may write its checksum of the properties, and leave it out: no client looks at it. */
    private static final String CHECKSUM = "__CRC32#";

    private final String scenario;
    private final Map<String, String> words = new LinkedHashMap<>();

    Facts(String scenario) {
        this.scenario = scenario;
    }

    /** From now on {@code text} is told as {@code word}. */
    synchronized void name(String text, String word) {
        words.put(text, word);
    }

    /** Tells one fact: {@code = SCENARIO TEXT}. */
    synchronized void tell(String text) {
        System.out.println("= " + scenario + " " + normal(text));
    }

    /** All of a message but its times and places, which the scenario must check by itself. */
    static String describe(MessageExt message) {
        return "topic " + message.getTopic() + " queue " + message.getQueueId() + " reconsumed " + message.getReconsumeTimes()
            + " flag " + message.getFlag() + " sysFlag " + message.getSysFlag() + " prepared "
            + message.getPreparedTransactionOffset() + " body " + World.text(message) + " id " + message.getMsgId() + " "
            + properties(message);
    }

    static String properties(Message message) {
        Map<String, String> sorted = new TreeMap<>(message.getProperties());
        sorted.remove(CHECKSUM);
        sorted.replaceAll((name, value) -> MASKED.contains(name) ? "*" : value);
        return sorted.toString();
    }

    private String normal(String text) {
        String normal = text;
        for (Map.Entry<String, String> word : words.entrySet()) {
            normal = normal.replace(word.getKey(), word.getValue());
        }
        return normal;
    }
}
