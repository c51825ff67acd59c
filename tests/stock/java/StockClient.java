import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/**
 * Runs scenarios of the stock Java client against one cluster, several at a time, and prints one line of JSON for each.
 * Exits with 0 when all of them pass. Compiled against client 4.9.8 and 5.3.3 alike.
 *
 * <pre>StockClient --namesrv HOST:PORT --prefix P [--parallel N] [--hasten] SCENARIO...</pre>
 *
 * Topics and groups begin with the prefix, so one broker can serve many runs.
 */
public final class StockClient {
    /** One check; it throws when something is not as it should be. */
    interface Scenario {
        void run(World world) throws Exception;
    }

    private static final Map<String, Scenario> SCENARIOS = new LinkedHashMap<>();

    static {
        SCENARIOS.put("send-sync", Sending::sync);
        SCENARIOS.put("send-async", Sending::async);
        SCENARIOS.put("send-oneway", Sending::oneway);
        SCENARIOS.put("send-batch", Sending::batch);
        SCENARIOS.put("send-ordered", Sending::ordered);
        SCENARIOS.put("send-large", Sending::large);
        SCENARIOS.put("send-vip", Sending::vip);
        SCENARIOS.put("auto-create", Sending::autoCreate);
        SCENARIOS.put("push-concurrent", Pushing::concurrent);
        SCENARIOS.put("push-orderly", Pushing::orderly);
        SCENARIOS.put("push-broadcast", Pushing::broadcast);
        SCENARIOS.put("push-tags", Pushing::tags);
        SCENARIOS.put("push-resume", Pushing::resume);
        SCENARIOS.put("push-rebalance", Pushing::rebalance);
        SCENARIOS.put("pull", Pulling::pull);
        SCENARIOS.put("lite-pull", Pulling::litePull);
        SCENARIOS.put("lite-pull-assign", Pulling::litePullAssign);
        SCENARIOS.put("create-topic", Looking::createTopic);
        SCENARIOS.put("view-message", Looking::viewMessage);
        SCENARIOS.put("query-message", Looking::queryMessage);
        SCENARIOS.put("offsets", Looking::offsets);
        SCENARIOS.put("filter-push", Selecting::push);
        SCENARIOS.put("filter-broadcast", Selecting::broadcast);
        SCENARIOS.put("filter-pull", Selecting::pull);
        SCENARIOS.put("filter-lite-pull", Selecting::litePull);
        SCENARIOS.put("filter-wrong", Selecting::wrong);
        SCENARIOS.put("request-sync", Requesting::sync);
        SCENARIOS.put("request-async", Requesting::async);
        SCENARIOS.put("request-late", Requesting::late);
        SCENARIOS.put("delay-levels", Delaying::levels);
        SCENARIOS.put("delay-odd-levels", Delaying::oddLevels);
        SCENARIOS.put("delay-ways-to-send", Delaying::waysToSend);
        SCENARIOS.put("delay-auto-created", Delaying::autoCreated);
        SCENARIOS.put("delay-to-retry-topic", Delaying::toRetryTopic);
        SCENARIOS.put("retry-levels", Retrying::levels);
        SCENARIOS.put("retry-own-level", Retrying::ownLevel);
        SCENARIOS.put("retry-at-once", Retrying::atOnce);
        SCENARIOS.put("retry-no-second-try", Retrying::noSecondTry);
        SCENARIOS.put("retry-after-delay", Retrying::afterDelay);
        SCENARIOS.put("retry-orderly", Retrying::orderly);
        SCENARIOS.put("retry-orderly-to-the-end", Retrying::orderlyToTheEnd);
        SCENARIOS.put("timers", Timing::all);
        SCENARIOS.put("pop", Popping::handedOut);
        SCENARIOS.put("pop-failing", Popping::failing);
        SCENARIOS.put("pop-shared", Popping::shared);
        SCENARIOS.put("batch-whole", Batching::whole);
        SCENARIOS.put("batch-read", Batching::read);
        SCENARIOS.put("batch-sql", Batching::sql);
        SCENARIOS.put("light-queues", Light::pulled);
        SCENARIOS.put("batch-pushed", Batching::pushed);
        SCENARIOS.put("batch-auto", Batching::auto);
        SCENARIOS.put("batch-auto-plain", Batching::autoPlain);
        SCENARIOS.put("transactions", Transacting::all);
        SCENARIOS.put("called", Called::called);
        SCENARIOS.put("namespace", Daily::namespace);
        SCENARIOS.put("namespace-v2", Daily::namespaceV2);
        SCENARIOS.put("trace", Daily::trace);
        SCENARIOS.put("compressions", Daily::compressions);
        SCENARIOS.put("orderly-handover", Daily::orderlyHandover);
        SCENARIOS.put("lost-master-slave", Failing::slaveConcurrent);
        SCENARIOS.put("lost-master-slave-orderly", Failing::slaveOrderly);
        SCENARIOS.put("lost-master-alone", Failing::alone);
        SCENARIOS.put("lost-master-delayed", Failing::delayed);
    }

    private StockClient() {
    }

    public static void main(String[] arguments) throws Exception {
        String nameServer = null;
        String prefix = "stock";
        int parallel = 4;
        List<String> names = new ArrayList<>();
        for (int i = 0; i < arguments.length; i++) {
            switch (arguments[i]) {
                case "--namesrv" -> nameServer = arguments[++i];
                case "--prefix" -> prefix = arguments[++i];
                case "--parallel" -> parallel = Integer.parseInt(arguments[++i]);
                // A group's retry topic comes to be when its first consumer does, which reads it after the next look alone: 20 s by default.
                case "--hasten" -> System.setProperty("rocketmq.client.rebalance.waitInterval", "500");
                default -> names.add(arguments[i]);
            }
        }
        if (nameServer == null || names.isEmpty() || !SCENARIOS.keySet().containsAll(names)) {
            System.err.println("usage: StockClient --namesrv HOST:PORT [--prefix P] [--parallel N] [--hasten] SCENARIO...");
            System.err.println("scenarios: " + String.join(" ", SCENARIOS.keySet()));
            System.exit(2);
        }
        ExecutorService pool = Executors.newFixedThreadPool(parallel);
        List<Future<Boolean>> running = new ArrayList<>();
        for (String name : names) {
            World world = new World(nameServer, prefix, name);
            running.add(pool.submit(() -> run(name, world)));
        }
        boolean all = true;
        for (Future<Boolean> one : running) {
            all &= one.get();
        }
        System.out.flush();
        // Threads of the client may linger; the result is known.
        Runtime.getRuntime().halt(all ? 0 : 1);
    }

    private static boolean run(String name, World world) {
        long start = System.nanoTime();
        String error = null;
        try {
            SCENARIOS.get(name).run(world);
        } catch (Throwable failure) {
            failure.printStackTrace();
            error = failure.toString();
        } finally {
            world.close();
        }
        long millis = (System.nanoTime() - start) / 1_000_000;
        String end = error == null ? "}" : ",\"error\":\"" + escape(error) + "\"}";
        System.out.println("{\"scenario\":\"" + name + "\",\"ok\":" + (error == null) + ",\"ms\":" + millis + end);
        return error == null;
    }

    private static String escape(String text) {
        StringBuilder escaped = new StringBuilder();
        for (char letter : text.toCharArray()) {
            if (letter == '"' || letter == '\\') {
                escaped.append('\\').append(letter);
            } else {
                escaped.append(letter < ' ' ? ' ' : letter);
            }
        }
        return escaped.toString();
    }
}
