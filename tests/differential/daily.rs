//! What tools ask now and then: 303, 306, 308, 314, 316, 317, 321, 329, 343, 345, 353.
use std::io;

use super::{Body, Run, create, heartbeat};
use harness::{Client, Frame, wait_for};

pub(super) fn daily(run: &mut Run) -> io::Result<()> {
    run.broker("create topic of daily life", create("D"), Body::Bytes)?;
    for text in [&b"one"[..], b"two", b"three"] {
        run.broker.send_with("D", 0, text, &[("TAGS", "a")])?;
    }
    wait_for("dispatch", || run.broker.max_offset("D", 0).ok().filter(|&offset| offset == 3));
    for (group, queue, offset) in [("NEAR", 0, 2), ("FAR", 0, 1), ("FAR", 1, 0)] {
        // The group comes to be by its pull.
        run.broker.call(Client::pull_request(group, "D", queue, 0, 1))?;
        run.broker.commit_offset(group, "D", queue, offset)?;
    }
    let of = |code: i32, group: &str, topic: &str| Frame::request(code).ext("group", group).ext("topic", topic);
    run.broker("spans", of(303, "NEAR", "D"), Body::Json)?;
    run.broker("spans of no topic", of(303, "NEAR", "NONE"), Body::Json)?;
    run.broker("topics of a group", Frame::request(343).ext("group", "NEAR"), Body::Json)?;
    run.broker("topics of nobody", Frame::request(343).ext("group", "NOBODY"), Body::Json)?;
    run.broker("subscription of nobody", of(345, "G", "T"), Body::Json)?;
    run.broker.call(heartbeat("G"))?;
    run.broker("subscription of a group", of(345, "G", "T"), Body::Json)?;
    run.broker("subscription to another topic", of(345, "G", "D"), Body::Json)?;
    forbidden(run)?;
    let correct = |group: &str| Frame::request(308).ext("topic", "D").ext("compareGroup", group);
    run.broker("correction", correct("NEAR"), Body::Json)?;
    run.broker("correction of nobody", correct("NOBODY"), Body::Json)?;
    run.broker("correction of no topic", correct("NEAR").ext("topic", "NONE"), Body::Json)?;
    let clone = |from: &str, topic: &str| {
        Frame::request(314).ext("srcGroup", from).ext("destGroup", "CLONE").ext("topic", topic).ext("offline", true)
    };
    run.broker("clone", clone("FAR", "D"), Body::Bytes)?;
    run.broker("clone of nobody", clone("NOBODY", "D"), Body::Bytes)?;
    run.broker("clone in no topic", clone("FAR", "NONE"), Body::Bytes)?;
    run.broker("topics of the clone", Frame::request(343).ext("group", "CLONE"), Body::Json)?;
    for queue in [0, 1] {
        let stands = Frame::request(14).ext("consumerGroup", "CLONE").ext("topic", "D").ext("queueId", queue);
        run.broker(&format!("where the clone stands in {queue}"), stands, Body::Bytes)?;
    }
    // First, for a reset by time makes queues at Apache.
    entries(run)?;
    resets(run)?;
    run.broker("clean expired queues", Frame::request(306), Body::Bytes)?;
    run.broker("clean unused topics", Frame::request(316), Body::Bytes)?;
    run.broker("delete expired files", Frame::request(329), Body::Bytes)?;
    run.broker("where all groups stand", Frame::request(317).ext("isOrder", false), Body::Json)?;
    run.broker("where all groups stand in order", Frame::request(317).ext("isOrder", true), Body::Json)?;
    Ok(())
}

fn forbidden(run: &mut Run) -> io::Result<()> {
    let forbid = |readable: &str| {
        let frame = Frame::request(353).ext("group", "G").ext("topic", "T");
        if readable.is_empty() { frame } else { frame.ext("readable", readable) }
    };
    run.broker("what is forbidden", forbid(""), Body::Json)?;
    run.broker("forbid", forbid("false"), Body::Json)?;
    run.broker("what is forbidden now", forbid(""), Body::Json)?;
    let subscribed = Client::pull_request("G", "T", 0, 0, 1).ext("sysFlag", 0).ext("subVersion", 1);
    run.broker("pull what is forbidden", subscribed.clone(), Body::Records)?;
    let own = Client::pull_request("G", "T", 0, 0, 1);
    run.broker("pull what is forbidden by an own subscription", own, Body::Records)?;
    run.broker("allow", forbid("true"), Body::Json)?;
    run.broker("pull what is allowed again", subscribed, Body::Records)?;
    run.broker.call(Frame::request(35).ext("clientID", "client@1").ext("consumerGroup", "G"))?;
    let group = |settings: &str| Frame::request(200).body(format!(r#"{{"groupName":"OFF",{settings}}}"#));
    run.broker("group that may not consume", group(r#""consumeEnable":false"#), Body::Bytes)?;
    run.broker("pull without leave", Client::pull_request("OFF", "T", 0, 0, 1), Body::Records)?;
    Ok(())
}

/// Where a group goes on, that nobody is a member of, and what a consumer commits before it has heard of it.
fn resets(run: &mut Run) -> io::Result<()> {
    let reset = |time: i64| {
        let frame = Frame::request(222).ext("group", "NEAR").ext("topic", "D").ext("isForce", true);
        frame.ext("timestamp", time).ext("queueId", -1)
    };
    let one = |queue: i32, offset: i64| reset(0).ext("queueId", queue).ext("offset", offset);
    let stands = |queue: i32| Frame::request(14).ext("consumerGroup", "NEAR").ext("topic", "D").ext("queueId", queue);
    let commit = |offset: i64| Frame { code: 15, ..stands(0) }.ext("commitOffset", offset);
    for (name, time) in [("start", 0), ("newest", -1), ("future", 4_102_444_800_000)] {
        run.broker(&format!("reset to the {name}"), reset(time), Body::Json)?;
        run.broker(&format!("where it stands, reset to the {name}"), stands(0), Body::Bytes)?;
    }
    run.broker("reset one queue", one(0, 1), Body::Json)?;
    run.broker("commit before it has heard", commit(3), Body::Bytes)?;
    run.broker("where it stands before it has heard", stands(0), Body::Bytes)?;
    let pull = || Client::pull_request("NEAR", "D", 0, 3, 1);
    run.broker("pull that hears of it", pull(), Body::Records)?;
    run.broker("pull that has heard", pull(), Body::Records)?;
    run.broker("commit that counts again", commit(2), Body::Bytes)?;
    run.broker("where it stands then", stands(0), Body::Bytes)?;
    run.broker("reset beyond the end", one(0, 99), Body::Json)?;
    run.broker("reset a queue that is not there", one(99, 0), Body::Json)?;
    run.broker("reset in no topic", reset(0).ext("topic", "NONE"), Body::Json)?;
    run.broker("reset of nobody", reset(0).ext("group", "NOBODY"), Body::Json)?;
    run.broker("commit beyond the end", commit(99), Body::Bytes)?;
    run.broker("where it stands beyond the end", stands(0), Body::Bytes)?;
    run.broker("commit within it again", commit(2), Body::Bytes)?;
    Ok(())
}

fn entries(run: &mut Run) -> io::Result<()> {
    let entries = |queue: i32, index: i64, count: i32| {
        Frame::request(321).ext("topic", "D").ext("queueId", queue).ext("index", index).ext("count", count)
    };
    run.broker("entries", entries(0, 1, 10), Body::Json)?;
    run.broker("no entries", entries(0, 1, 0), Body::Json)?;
    run.broker("entries beyond", entries(0, 3, 10), Body::Json)?;
    run.broker("entries of a group", entries(0, 0, 1).ext("consumerGroup", "NOBODY"), Body::Json)?;
    run.broker.call(heartbeat("G"))?;
    let online = Frame::request(321).ext("topic", "T").ext("queueId", 0).ext("index", 0).ext("count", 1);
    run.broker("entries of a group that is online", online.ext("consumerGroup", "G"), Body::Json)?;
    run.broker.call(Frame::request(35).ext("clientID", "client@1").ext("consumerGroup", "G"))?;
    run.broker("entries of no topic", entries(0, 0, 1).ext("topic", "NONE"), Body::Json)?;
    run.broker("entries of a queue without messages", entries(2, 0, 1), Body::Json)?;
    Ok(())
}
