"""Runs scenarios of the stock C++ client, through its Python package, and prints one line of JSON for each.

    stock.py --namesrv HOST:PORT --prefix P SCENARIO...

Exits with 0 when all of them pass.
"""
import argparse
import json
import os
import sys
import threading
import time

from rocketmq.client import Message, MessageModel, Producer, PullConsumer, PushConsumer, RecvMessage, SendStatus
from rocketmq.ffi import _CConsumeStatus as ConsumeStatus

WAIT_SECONDS = 60

# The broker's messageDelayLevel must be 1s 2s 1s 2s 3s 4s where messages wait: retries begin at level 3.
LEVEL_SECONDS = (0, 1, 2, 1, 2, 3, 4)

# Twice as many messages as a new topic has queues, of two shards.
ROUND = 16

# A few rounds over the queues of all brokers.
CONNECT_SENDS = 24


class World:
    """What one scenario works with."""

    def __init__(self, name_server, prefix, scenario):
        self.name_server = name_server
        self.scenario = scenario
        self.topic = name = "%s_%s" % (prefix, scenario)
        self.group = "G_" + name

    def producer(self):
        made = Producer("P_" + self.topic)
        made.set_namesrv_addr(self.name_server)
        made.start()
        connect(made)
        return made

    def message(self, index):
        """Message number `index`: body, tag, key and a property all follow from it."""
        made = Message(self.topic)
        made.set_tags(tag(index))
        made.set_keys("key-%d" % index)
        made.set_property("index", str(index))
        made.set_body(body(index))
        return made

    def check(self, message):
        index = int(message.get_property("index").decode("utf-8"))
        same(body(index), message.body.decode("utf-8"), "body of %d" % index)
        same(tag(index), message.tags.decode("utf-8"), "tag of %d" % index)
        same("key-%d" % index, message.keys.decode("utf-8"), "key of %d" % index)
        same(self.topic, message.topic, "topic of %d" % index)
        return index

    def consume(self, expression="*", orderly=False):
        return Counting(self, expression, orderly)

    def tell(self, fact):
        """What a scenario saw, in words that are the same on every broker and in every run."""
        text = fact.replace(self.group, "<group>").replace(self.topic, "<topic>")
        sys.stdout.write("= %s %s\n" % (self.scenario, text))


class Counting:
    """A push consumer that counts what arrives."""

    def __init__(self, world, expression, orderly):
        self.lock = threading.Lock()
        self.counts = {}
        self.wrong = None
        self.next_offsets = {}

        def listener(message):
            with self.lock:
                try:
                    index = world.check(message)
                    self.counts[index] = self.counts.get(index, 0) + 1
                except Exception as failure:  # thrown on, it would only bring the message again
                    self.wrong = failure

        self.consumer = PushConsumer(world.group, orderly=orderly)
        self.consumer.set_namesrv_addr(world.name_server)
        self.consumer.subscribe(world.topic, listener, expression)
        self.consumer.start()

    def expect(self, count):
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            with self.lock:
                if self.wrong is not None:
                    raise self.wrong
                if len(self.counts) >= count:
                    break
                distinct = len(self.counts)
            if time.monotonic() > deadline:
                raise AssertionError("only %d of %d messages came" % (distinct, count))
            time.sleep(0.02)
        with self.lock:
            same(count, len(self.counts), "different messages")
            for index, times in self.counts.items():
                same(1, times, "arrivals of message %d" % index)

    def shutdown(self):
        self.consumer.shutdown()


def connect(producer):
    """Sends to every broker until all connections are there.

    While the library's heartbeat opens a connection, ten milliseconds after the start, it holds the lock of all, and a send at that moment
    fails for good: "get timed_mutex timeout" in its log, "No route info of this topic" in its exception.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    sent = 0
    while sent < CONNECT_SENDS:
        message = Message("connect")
        message.set_body("hello")
        try:
            producer.send_sync(message)
            sent += 1
        except Exception:
            if time.monotonic() > deadline:
                raise
            sent = 0
            time.sleep(0.01)


def tag(index):
    return "Tag" + "ABC"[index % 3]


def body(index):
    return "body of message %d äß消" % index


def same(expected, found, what):
    if expected != found:
        raise AssertionError("%s: expected %r, found %r" % (what, expected, found))


def send(world, first, end):
    producer = world.producer()
    for index in range(first, end):
        result = producer.send_sync(world.message(index))
        same(SendStatus.OK, result.status, "status of %d" % index)
    producer.shutdown()


def send_sync(world):
    send(world, 0, 50)
    found = world.consume()
    found.expect(50)
    send(world, 50, 80)
    found.expect(80)
    found.shutdown()


def send_oneway(world):
    producer = world.producer()
    producer.send_sync(world.message(0))
    for index in range(1, 40):
        producer.send_oneway(world.message(index))
    found = world.consume()
    found.expect(40)
    found.shutdown()
    producer.shutdown()


def push_tags(world):
    send(world, 0, 60)
    found = world.consume("TagA || TagC")
    found.expect(40)
    found.shutdown()


def send_async(world):
    producer = world.producer()
    producer.send_sync(world.message(0))
    answers = threading.Semaphore(0)
    failures = []

    def failed(failure):
        failures.append(failure)
        answers.release()

    # The library reads a message after the call has returned.
    messages = [world.message(index) for index in range(1, 40)]
    for message in messages:
        producer.send_async(message, lambda result: answers.release(), failed)
    for _ in messages:
        if not answers.acquire(timeout=WAIT_SECONDS):
            raise AssertionError("an answer is missing")
    if failures:
        raise failures[0]
    found = world.consume()
    found.expect(40)
    found.shutdown()
    producer.shutdown()


def push_orderly(world):
    producer = world.producer()
    for index in range(60):
        result = producer.send_orderly(world.message(index), index % 5)
        same(SendStatus.OK, result.status, "status of %d" % index)
    found = world.consume(orderly=True)
    found.expect(60)
    found.shutdown()
    producer.shutdown()


def push_broadcast(world):
    """Two broadcast consumers of a group: each gets everything. The library begins at the end of each queue, once it has found it."""
    producer = world.producer()
    first = 0

    def send_round(count):
        nonlocal first
        sent = range(first, first + count)
        for index in sent:
            same(SendStatus.OK, producer.send_sync(world.message(index)).status, "status of %d" % index)
        first += count
        return set(sent)

    send_round(ROUND)
    members = []
    for name in ("one", "other"):
        counts = {}

        def listener(message, counts=counts):
            index = int(message.get_property("index").decode("utf-8"))
            counts[index] = counts.get(index, 0) + 1

        consumer = PushConsumer(world.group)
        consumer.set_message_model(MessageModel.BROADCASTING)
        consumer.set_instance_name(name)
        consumer.set_namesrv_addr(world.name_server)
        consumer.subscribe(world.topic, listener)
        consumer.start()
        members.append((consumer, counts))

    def all_had(sent, seconds):
        deadline = time.monotonic() + seconds
        while not all(sent <= set(counts) for _, counts in members):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    # Who has all of a round has begun at every queue.
    rounds = 0
    while not all_had(send_round(ROUND), 2):
        rounds += 1
        if rounds > WAIT_SECONDS / 2:
            raise AssertionError("a consumer does not begin")
    sent = send_round(50)
    if not all_had(sent, WAIT_SECONDS):
        raise AssertionError("a broadcast message is missing")
    for consumer, counts in members:
        same({1}, {counts[index] for index in sent}, "arrivals of each message")
        consumer.shutdown()
    producer.shutdown()


class Pulling(PullConsumer):
    """The package's own table of offsets takes queues of the same number for one, whatever broker they are of."""

    def _get_mq_key(self, queue):
        return "%s@%s@%d" % (queue.topic, queue.brokerName, queue.queueId)


def pull(world):
    """A consumer that asks for messages itself. Where it was is its own to keep."""
    send(world, 0, 60)
    consumer = Pulling(world.group)
    consumer.set_namesrv_addr(world.name_server)
    consumer.start()
    had = [world.check(message) for message in consumer.pull(world.topic, "TagA || TagC")]
    same([index for index in range(60) if index % 3 != 1], sorted(had), "what came")
    send(world, 60, 90)
    had = [world.check(message) for message in consumer.pull(world.topic)]
    same(list(range(60, 90)), sorted(had), "what came then")
    same([], list(consumer.pull(world.topic)), "what is left")
    consumer.shutdown()


class Tries:
    """A push consumer that notes each time it is called, and wants a message again as often as `fails` says."""

    def __init__(self, world, topic, group, fails):
        self.lock = threading.Lock()
        self.seen = []

        def listener(_, handle):
            message = RecvMessage(handle)
            times = message.reconsume_times
            with self.lock:
                self.seen.append((time.monotonic(), describe(message), message.keys.decode("utf-8")))
            return (ConsumeStatus.RECONSUME_LATER if times < fails else ConsumeStatus.CONSUME_SUCCESS).value

        self.consumer = PushConsumer(group)
        self.consumer.set_namesrv_addr(world.name_server)
        self.consumer.set_instance_name("tries_" + group)
        # The package's own way takes a failed call for a success: what a callback throws is lost, and with it what it returns.
        self.consumer.subscribe(topic, lambda message: None)
        self.consumer._register_callback(listener)
        self.consumer.start()

    def expect(self, count):
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            with self.lock:
                if len(self.seen) >= count:
                    same(count, len(self.seen), "calls of the listener")
                    return list(self.seen)
                found = len(self.seen)
            if time.monotonic() > deadline:
                raise AssertionError("only %d of %d messages or tries" % (found, count))
            time.sleep(0.02)


def describe(message):
    """All of a message that is the same in every run."""
    names = ("DELAY", "KEYS", "REAL_TOPIC", "RETRY_TOPIC", "TAGS", "WAIT", "own")
    properties = {name: message.get_property(name) for name in names}
    told = ", ".join("%s=%s" % (name, text.decode("utf-8").strip()) for name, text in properties.items() if text)
    return "topic %s reconsumed %d level %d body %s {%s}" % (
        message.topic, message.reconsume_times, message.delay_time_level, message.body.decode("utf-8"), told)


def send_one(world, producer, key, level):
    message = Message(world.topic)
    message.set_tags("TagA")
    message.set_keys(key)
    message.set_property("own", "Grüße " + key)
    message.set_body("body " + key)
    if level:
        message.set_delay_time_level(level)
    begun = time.monotonic()
    result = producer.send_sync(message)
    same(SendStatus.OK, result.status, "status of " + key)
    return begun


def delay_levels(world):
    """Each level at its time."""
    producer = world.producer()
    begun = {"level-%d" % level: (send_one(world, producer, "level-%d" % level, level), level) for level in (1, 2, 6, 0)}
    tries = Tries(world, world.topic, world.group, 0)
    seen = tries.expect(len(begun))
    for at, _, key in seen:
        start, level = begun[key]
        if at - start < LEVEL_SECONDS[level]:
            raise AssertionError("%s came after %.3f s" % (key, at - start))
    for _, text, key in sorted(seen, key=lambda one: one[2]):
        world.tell("%s: arrived: %s" % (key, text))
    tries.consumer.shutdown()
    producer.shutdown()


def retry_levels(world):
    """A listener that fails twice: each try at its time."""
    producer = world.producer()
    send_one(world, producer, "0", 0)
    tries = Tries(world, world.topic, world.group, 2)
    seen = tries.expect(3)
    for level, before, then in ((3, seen[0], seen[1]), (4, seen[1], seen[2])):
        if then[0] - before[0] < LEVEL_SECONDS[level]:
            raise AssertionError("tried again after %.3f s" % (then[0] - before[0]))
    for _, text, _ in seen:
        world.tell("try: " + text)
    tries.consumer.shutdown()
    producer.shutdown()


SCENARIOS = {
    "send-sync": send_sync,
    "send-async": send_async,
    "send-oneway": send_oneway,
    "push-tags": push_tags,
    "push-orderly": push_orderly,
    "push-broadcast": push_broadcast,
    "pull": pull,
    "delay-levels": delay_levels,
    "retry-levels": retry_levels,
}


def run(name, name_server, prefix):
    start = time.monotonic()
    line = {"scenario": name, "ok": True}
    try:
        SCENARIOS[name](World(name_server, prefix, name))
    except Exception as failure:
        line["ok"] = False
        line["error"] = repr(failure)
    line["ms"] = int((time.monotonic() - start) * 1000)
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
    return line["ok"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--namesrv", required=True)
    parser.add_argument("--prefix", default="python")
    parser.add_argument("scenarios", nargs="+", choices=sorted(SCENARIOS))
    arguments = parser.parse_args()
    passed = [run(name, arguments.namesrv, arguments.prefix) for name in arguments.scenarios]
    # The library's threads may outlive their clients; the result is known.
    sys.stdout.flush()
    os._exit(0 if all(passed) else 1)


if __name__ == "__main__":
    main()
