import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Consumers that ask for messages themselves. */
final class Pulling {
    private Pulling() {
    }

    /** Pull by offset, past the end, below the start, with tags, waiting for data; offsets stored and read again. */
    static void pull(World world) throws Exception {
        world.createTopic(1);
        DefaultMQPullConsumer consumer = world.pullConsumer(world.group);
        MessageQueue queue = consumer.fetchSubscribeMessageQueues(world.topic).iterator().next();
        world.sendTo(queue, 0, 60);
        World.waitFor("60 messages", () -> consumer.maxOffset(queue) == 60 ? Boolean.TRUE : null);

        PullResult some = consumer.pull(queue, "*", 10, 5);
        World.same(PullStatus.FOUND, some.getPullStatus(), "status");
        World.same(5, some.getMsgFoundList().size(), "messages");
        World.same(15L, some.getNextBeginOffset(), "next offset");
        World.same(0L, some.getMinOffset(), "smallest offset");
        World.same(60L, some.getMaxOffset(), "largest offset");
        for (int i = 0; i < 5; i++) {
            World.same(10 + i, world.checkMessage(some.getMsgFoundList().get(i)), "message");
        }
        World.same(PullStatus.NO_NEW_MSG, consumer.pull(queue, "*", 60, 5).getPullStatus(), "status at the end");
        PullResult beyond = consumer.pull(queue, "*", 1000, 5);
        World.same(PullStatus.OFFSET_ILLEGAL, beyond.getPullStatus(), "status past the end");
        World.same(60L, beyond.getNextBeginOffset(), "corrected offset");
        PullResult none = consumer.pull(queue, "NoSuchTag", 0, 5);
        World.same(PullStatus.NO_MATCHED_MSG, none.getPullStatus(), "status without a match");
        World.check(none.getNextBeginOffset() > 0, "an unmatched pull must get on");
        for (MessageExt message : consumer.pull(queue, "TagB", 0, 32).getMsgFoundList()) {
            World.same("TagB", message.getTags(), "tag");
        }

        CompletableFuture<PullResult> held = CompletableFuture.supplyAsync(() -> {
            try {
                return consumer.pullBlockIfNotFound(queue, "*", 60, 5);
            } catch (Exception failure) {
                throw new IllegalStateException(failure);
            }
        });
        Thread.sleep(300);
        World.check(!held.isDone(), "a pull at the end must be held");
        long sentAt = System.nanoTime();
        world.sendTo(queue, 60, 61);
        PullResult woken = held.get(World.WAIT_MILLIS, TimeUnit.MILLISECONDS);
        long wakeMillis = (System.nanoTime() - sentAt) / 1_000_000;
        World.same(60, world.checkMessage(woken.getMsgFoundList().get(0)), "message that woke the pull");
        World.check(wakeMillis < 4_000, "woken after " + wakeMillis + " ms, as if by a timer");

        consumer.updateConsumeOffset(queue, 42);
        consumer.getDefaultMQPullConsumerImpl().getOffsetStore().persist(queue);
        World.waitFor("stored offset", () -> world.committed(consumer, queue) == 42 ? Boolean.TRUE : null);
    }

    /** A balanced lite-pull consumer gets all, and its successor in the group only what is new. */
    static void litePull(World world) throws Exception {
        world.createTopic(4);
        world.send(0, 80);
        DefaultLitePullConsumer first = world.litePullConsumer(world.group);
        first.setAutoCommit(false);
        first.subscribe(world.topic, "*");
        first.start();
        Tally before = poll(world, first, 80);
        before.checkOnce(0, 80);
        commit(first);
        first.shutdown();
        world.send(80, 120);
        DefaultLitePullConsumer second = world.litePullConsumer(world.group);
        second.subscribe(world.topic, "*");
        second.start();
        poll(world, second, 40).checkOnce(80, 120);
    }

    /** Queues assigned by hand; seeking back reads again. */
    static void litePullAssign(World world) throws Exception {
        world.createTopic(2);
        DefaultLitePullConsumer consumer = world.litePullConsumer(world.group);
        consumer.start();
        Collection<MessageQueue> queues = World.waitFor("queues", () -> {
            Collection<MessageQueue> found = consumer.fetchMessageQueues(world.topic);
            return found == null || found.isEmpty() ? null : found;
        });
        MessageQueue one = queues.iterator().next();
        world.sendTo(one, 0, 20);
        world.send(20, 40);
        consumer.assign(queues);
        // A pull under way when the seek comes may still be handed out, so twice is the client's doing. And a seek interrupts the thread that pulled
        // last: if that pulls for another queue by then, the seek of that one is lost. So it is asked for again.
        Tally tally = new Tally();
        World.waitFor("40 messages", () -> {
            for (MessageQueue queue : queues) {
                consumer.seek(queue, 0);
            }
            for (int polls = 0; polls < 50 && tally.distinct() < 40; polls++) {
                for (MessageExt message : consumer.poll(200)) {
                    tally.add(world.checkMessage(message));
                }
            }
            return tally.distinct() >= 40 ? Boolean.TRUE : null;
        });
        tally.checkAtLeastOnce(0, 40);
        consumer.seek(one, 15);
        Map<Long, Integer> again = new TreeMap<>();
        World.waitFor("messages after seek", () -> {
            for (MessageExt message : consumer.poll(200)) {
                int index = world.checkMessage(message);
                if (index < 20) {
                    again.put(message.getQueueOffset(), index);
                }
            }
            return again.size() >= 5 ? Boolean.TRUE : null;
        });
        World.same(List.of(15L, 16L, 17L, 18L, 19L), new ArrayList<>(again.keySet()), "offsets after seek");
        for (MessageQueue queue : queues) {
            long start = consumer.offsetForTimestamp(queue, 0L);
            World.same(0L, start, "offset for the beginning of time");
        }
    }

    private static Tally poll(World world, DefaultLitePullConsumer consumer, int count) throws Exception {
        Tally tally = new Tally();
        World.waitFor(count + " messages", () -> {
            for (MessageExt message : consumer.poll(200)) {
                tally.add(world.checkMessage(message));
            }
            return tally.distinct() >= count ? Boolean.TRUE : null;
        });
        return tally;
    }

    /** Named {@code commitSync} until 5.0, {@code commit} since. */
    private static void commit(DefaultLitePullConsumer consumer) throws Exception {
        for (String name : List.of("commit", "commitSync")) {
            try {
                DefaultLitePullConsumer.class.getMethod(name).invoke(consumer);
                return;
            } catch (NoSuchMethodException other) {
                // The next name.
            }
        }
        throw new IllegalStateException("no commit");
    }
}
