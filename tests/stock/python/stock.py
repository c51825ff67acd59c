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

from rocketmq.client import Message, Producer, PushConsumer, SendStatus

WAIT_SECONDS = 60

# A few rounds over the queues of all brokers.
CONNECT_SENDS = 24


class World:
    """What one scenario works with."""

    def __init__(self, name_server, name):
        self.name_server = name_server
        self.topic = name
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


SCENARIOS = {
    "send-sync": send_sync,
    "send-async": send_async,
    "send-oneway": send_oneway,
    "push-tags": push_tags,
    "push-orderly": push_orderly,
}


def run(name, name_server, prefix):
    start = time.monotonic()
    line = {"scenario": name, "ok": True}
    try:
        SCENARIOS[name](World(name_server, "%s_%s" % (prefix, name)))
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
