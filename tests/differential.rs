//! Requests to Apache RocketMQ and to ringmq, answer beside answer.
mod harness;

use std::io::{self, Write as _};
use std::time::Duration;

use harness::{Client, Frame, code};
use ringmq_peers::{Apache, BrokerOptions};

/// Apache, or `None` with one line that says why this test is skipped.
fn apache_or_skip() -> Option<Apache> {
    Apache::locate().map_err(|missing| writeln!(io::stderr(), "skipped: {missing}").expect("stderr is open")).ok()
}

/// The hand-written client speaks the protocol as Apache does; else its verdicts on ringmq would be worth nothing.
#[test]
fn the_harness_speaks_to_apache() -> io::Result<()> {
    let Some(apache) = apache_or_skip() else { return Ok(()) };
    let name_server = apache.start_name_server().expect("it starts");
    let broker = apache.start_broker(&BrokerOptions::small(&name_server.address())).expect("it starts");
    let mut client = Client::connect(&broker.address())?;
    client.create_topic("T", 4)?;
    let mut names = Client::connect(&name_server.address())?;
    let route = names.route("T")?.expect("a created topic has a route");
    assert_eq!(route["brokerDatas"][0]["brokerAddrs"]["0"], broker.address());
    assert!(names.route("NONE")?.is_none());

    let receipt = client.send_with("T", 1, b"one", &[("TAGS", "a"), ("own", "x")])?;
    assert_eq!((receipt.code, receipt.queue_id, receipt.queue_offset), (0, 1, 0));
    let binary = client.call(Client::send_request("T", 1, b"two", &[]).binary())?;
    assert_eq!(Client::receipt(&binary)?.queue_offset, 1);
    let records = harness::wait_for("dispatch", || client.read_queue("T", 1, 0).ok().filter(|all| all.len() == 2));
    assert_eq!(records[0].body, b"one");
    assert_eq!(records[0].properties["TAGS"], "a");
    assert_eq!((records[1].queue_offset, records[1].topic.as_str()), (1, "T"));
    assert_eq!((client.min_offset("T", 1)?, client.max_offset("T", 1)?), (0, 2));

    client.heartbeat("me", "G", "T")?;
    let listed = client.call(Frame::request(code::GET_CONSUMER_LIST_BY_GROUP).ext("consumerGroup", "G"))?;
    assert_eq!(listed.json()?["consumerIdList"][0], "me");
    client.commit_offset("G", "T", 1, 1)?;
    assert_eq!(client.consumer_offset("G", "T", 1)?, Some(1));
    assert_eq!(client.consumer_offset("H", "T", 1)?, None);
    client.unregister("me", "G")?;

    let held = client.start(Client::long_pull_request("G", "T", 2, 0, Duration::from_secs(20)))?;
    client.send("T", 2, b"three")?;
    assert_eq!(Client::pulled(&client.finish(held)?)?.records[0].body, b"three");
    Ok(())
}
