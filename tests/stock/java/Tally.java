import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/** How often each message arrived. */
final class Tally {
    private final Map<Integer, Integer> counts = new ConcurrentHashMap<>();

    void add(int index) {
        counts.merge(index, 1, Integer::sum);
    }

    int count(int index) {
        return counts.getOrDefault(index, 0);
    }

    int distinct() {
        return counts.size();
    }

    /** Each of {@code from..to} came exactly once, and nothing else came. */
    void checkOnce(int from, int to) {
        checkAtLeastOnce(from, to);
        counts.forEach((index, count) -> World.check(count == 1, "message " + index + " came " + count + " times"));
    }

    /** Each of {@code from..to} came, and nothing else came. */
    void checkAtLeastOnce(int from, int to) {
        for (int index = from; index < to; index++) {
            World.check(counts.containsKey(index), "message " + index + " never came");
        }
        World.same(to - from, counts.size(), "different messages");
    }

    void waitForDistinct(int count) throws Exception {
        World.waitFor(count + " messages", () -> counts.size() >= count ? Boolean.TRUE : null);
    }
}
