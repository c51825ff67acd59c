import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Light queues: a message of a topic is in queues of other names as well, which are pulled from the topic's broker. */
final class Light {
    private Light() {
    }

    private static void tell(World world, String what, PullResult result) {
        world.facts.tell(what + ": " + result.getPullStatus() + " next " + result.getNextBeginOffset() + " min " + result.getMinOffset() + " max "
            + result.getMaxOffset());
        if (result.getMsgFoundList() == null) {
            return;
        }
        for (MessageExt message : result.getMsgFoundList()) {
            world.facts.tell(what + ": " + message.getTopic() + " queue " + message.getQueueId() + " at " + message.getQueueOffset() + " body "
                + World.text(message) + " " + message.getProperty("INNER_MULTI_DISPATCH") + " " + message.getProperty("INNER_MULTI_QUEUE_OFFSET"));
        }
    }

    private static void send(World world, int index, String queues) throws Exception {
        Message message = new Message(world.topic, index % 2 == 0 ? "even" : "odd", "key-" + index, ("body " + index).getBytes());
        if (queues != null) {
            message.putUserProperty("INNER_MULTI_DISPATCH", queues);
        }
        SendResult result = world.producer().send(message);
        world.facts.tell("sent " + index + ": " + result.getSendStatus() + " at " + result.getQueueOffset());
    }

    static void pulled(World world) throws Exception {
        world.createTopic(1);
        // Names without what differs from run to run.
        String[] names = {"%LMQ%one", "%LMQ%two", "%LMQ%three"};
        String group = "%LMQ%reader";
        DefaultMQPullConsumer consumer = world.pullConsumer(group);
        MessageQueue main = World.waitFor("the queue", () -> {
            try {
                return consumer.fetchSubscribeMessageQueues(world.topic).iterator().next();
            } catch (org.apache.rocketmq.client.exception.MQClientException notYet) {
                return null;
            }
        });
        send(world, 0, names[0]);
        send(world, 1, names[0] + "," + names[1]);
        send(world, 2, null);
        send(world, 3, names[1] + "," + names[2]);
        send(world, 4, names[0]);
        World.waitFor("all of them", () -> consumer.maxOffset(main) == 5 ? Boolean.TRUE : null);
        Thread.sleep(300);
        for (String name : List.of(names[0], names[1], names[2])) {
            MessageQueue queue = new MessageQueue(name, main.getBrokerName(), 0);
            tell(world, name, consumer.pull(queue, "*", 0, 32));
            world.facts.tell(name + " is from " + consumer.minOffset(queue) + " to " + consumer.maxOffset(queue));
        }
        MessageQueue one = new MessageQueue(names[0], main.getBrokerName(), 0);
        tell(world, "odd ones", consumer.pull(one, "odd", 0, 32));
        tell(world, "from within", consumer.pull(one, "*", 1, 32));
        tell(world, "the end", consumer.pull(one, "*", 3, 32));
        tell(world, "the topic itself", consumer.pull(main, "*", 0, 32));
        consumer.updateConsumeOffset(one, 2);
        consumer.getDefaultMQPullConsumerImpl().getOffsetStore().persist(one);
        World.waitFor("the offset", () -> consumer.fetchConsumeOffset(one, true) == 2 ? Boolean.TRUE : null);
        world.facts.tell("committed " + consumer.fetchConsumeOffset(one, true));
        // One that nobody has sent to yet is waited for.
        MessageQueue late = new MessageQueue("%LMQ%late", main.getBrokerName(), 0);
        PullResult[] found = new PullResult[1];
        Thread reader = new Thread(() -> {
            try {
                found[0] = consumer.pullBlockIfNotFound(late, "*", 0, 32);
            } catch (Exception failure) {
                failure.printStackTrace();
            }
        });
        reader.start();
        Thread.sleep(1_000);
        send(world, 5, "%LMQ%late");
        reader.join(20_000);
        World.check(found[0] != null, "nothing came");
        tell(world, "late", found[0]);
    }
}
