//! What tools read of rates and latencies: 315, 202, 208, 28.

use super::*;

fn statistics(world: &mut World, name: &str, key: &str) -> Received {
    let connection = world.connect();
    world.call(connection, RequestCode::ViewBrokerStatsData, &[("statsName", name), ("statsKey", key)], b"")
}

/// The three sums of a counter: of the minute, the hour and the day.
fn sums(world: &mut World, name: &str, key: &str) -> [u64; 3] {
    let answer = statistics(world, name, key);
    assert_eq!(answer.code, 0, "{name} {key}: {}", answer.remark);
    ["statsMinute", "statsHour", "statsDay"].map(|period| {
        let (_, rest) = answer.text().split_once(&format!("\"{period}\":")).unwrap();
        after(rest, "sum").parse().unwrap()
    })
}

/// What follows the first `key` in JSON text, up to the next comma, brace or quote.
fn after<'a>(text: &'a str, key: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("\"{key}\":")).unwrap_or_else(|| panic!("no {key} in {text}"));
    rest.trim_start_matches('"').split([',', '}', '"']).next().unwrap()
}

fn tps(world: &mut World, code: RequestCode, ext: &[(&str, &str)], field: &str) -> f64 {
    let connection = world.connect();
    after(world.call(connection, code, ext, b"").text(), field).parse().unwrap()
}

/// The table of 28, as text.
fn runtime(world: &mut World) -> String {
    let connection = world.connect();
    world.call(connection, RequestCode::GetBrokerRuntimeInfo, &[], b"").text().to_owned()
}

#[test]
fn what_is_put_and_got_is_counted_by_topic_and_group() {
    let mut world = World::new();
    world.make_topic("T", 2);
    let c = world.connect();
    let idle = statistics(&mut world, "TOPIC_PUT_NUMS", "T");
    assert_eq!((idle.code, idle.remark.as_str()), (1, "The stats <TOPIC_PUT_NUMS> <T> not exist"));
    for number in 0..10 {
        world.send(c, "T", i32::from(number > 6), "", "body");
    }
    assert_eq!(world.pull(c, "T", 0, "*").records().len(), 7);
    assert_eq!(sums(&mut world, "TOPIC_PUT_NUMS", "T"), [10, 10, 10]);
    assert_eq!(sums(&mut world, "GROUP_GET_NUMS", "T@g"), [7, 7, 7]);
    assert_eq!(sums(&mut world, "BROKER_PUT_NUMS", "DefaultCluster"), [10, 10, 10]);
    assert_eq!(sums(&mut world, "BROKER_GET_NUMS", "DefaultCluster"), [7, 7, 7]);
    let [bytes, ..] = sums(&mut world, "TOPIC_PUT_SIZE", "T");
    assert_eq!(bytes, world.broker.view_counters().put_bytes);
    let commit = [("consumerGroup", "g"), ("topic", "T"), ("queueId", "0"), ("commitOffset", "7")];
    world.call(c, RequestCode::UpdateConsumerOffset, &commit, b"");
    let put = tps(&mut world, RequestCode::GetTopicStatsInfo, &[("topic", "T")], "topicPutTps");
    let got = tps(&mut world, RequestCode::GetConsumeStats, &[("consumerGroup", "g")], "consumeTps");
    assert!((put - 1.0).abs() < 1e-9 && (got - 0.7).abs() < 1e-9, "{put} {got}");

    world.wait_ms(70_000);
    assert_eq!(sums(&mut world, "TOPIC_PUT_NUMS", "T"), [0, 10, 10]);
    let put = tps(&mut world, RequestCode::GetTopicStatsInfo, &[("topic", "T")], "topicPutTps");
    assert!(put.abs() < 1e-9, "{put}");
    world.call(c, RequestCode::DeleteSubscriptiongroup, &[("groupName", "g")], b"");
    assert_eq!(statistics(&mut world, "GROUP_GET_NUMS", "T@g").code, 1);
    world.call(c, RequestCode::DeleteTopicInBroker, &[("topic", "T")], b"");
    assert_eq!(statistics(&mut world, "TOPIC_PUT_NUMS", "T").code, 1);
    assert_eq!(sums(&mut world, "BROKER_PUT_NUMS", "DefaultCluster"), [0, 10, 10]);
}

#[test]
fn each_stage_is_measured_where_it_happens() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    world.send(c, "T", 0, "", "the first makes a segment");
    world.commits = false;
    let sent = world.ask_send(c, "T", 0, "", "x");
    world.now.mono = MonoNs(world.now.mono.0 + 40_000);
    world.run();
    assert!(world.answer(c, sent).is_none(), "SYNC_FLUSH waits for the disk");
    world.now.mono = MonoNs(world.now.mono.0 + 2_000_000);
    world.commits = true;
    world.run();
    assert!(world.answer(c, sent).is_some());
    world.now.mono = MonoNs(world.now.mono.0 + 500_000);
    assert_eq!(world.pull(c, "T", 0, "*").records().len(), 2);
    let info = runtime(&mut world);
    let numbers =
        |key: &str| -> Vec<u64> { after(&info, key).split(' ').map(|number| number.parse().unwrap()).collect() };
    let check = |key: &str, count: u64, max_us: u64| {
        let found = numbers(key);
        assert_eq!((found.len(), found[0]), (5, count), "{key}: {found:?}");
        assert!(found[4].abs_diff(max_us) <= max_us / 50, "{key}: {found:?}, not {max_us} us");
        assert!(found[1] <= found[2] && found[2] <= found[3] && found[3] <= found[4], "{key}: {found:?}");
    };
    check("stageSocketToAppend", 2, 40);
    check("stageAppendToDurable", 2, 2_000);
    assert_eq!(after(&info, "stageDurableToReplicated"), "0 - - - -", "there is no slave");
    check("stageSocketToReply", 2, 2_040);
    check("stageAppendToPulled", 1, 2_540);
    assert_eq!(after(&info, "putMessageEntireTimeMax"), "2");
    assert!(after(&info, "putMessageDistributeTime").starts_with("[<=0ms]:1 [0~10ms]:1 "), "{info}");
}

#[test]
fn today_is_told_from_yesterday() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    let day_ms = 86_400_000;
    world.send(c, "T", 0, "", "x");
    world.wait_ms(1_000);
    let of_day = |world: &mut World| {
        let info = runtime(world);
        ["msgPutTotalYesterdayMorning", "msgPutTotalTodayMorning", "msgPutTotalTodayNow"]
            .map(|key| after(&info, key).to_owned())
    };
    assert_eq!(of_day(&mut world), ["0", "0", "1"]);
    world.wait_ms(day_ms);
    world.send(c, "T", 0, "", "x");
    assert_eq!(of_day(&mut world), ["0", "1", "2"]);
    world.wait_ms(day_ms);
    assert_eq!(of_day(&mut world), ["1", "2", "2"]);
}

#[test]
fn a_delayed_message_counts_once_when_it_is_delivered() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    world.send(c, "T", 0, "DELAY\u{1}1\u{2}", "x");
    let of_day = |world: &mut World| {
        let info = runtime(world);
        ["putMessageTimesTotal", "msgPutTotalTodayNow", "msgGetTotalTodayNow"].map(|key| after(&info, key).to_owned())
    };
    assert_eq!(of_day(&mut world), ["1", "0", "0"]);
    world.wait_ms(1_000);
    world.wait_ms(0);
    assert_eq!(world.pull(c, "T", 0, "*").records().len(), 1);
    assert_eq!(of_day(&mut world), ["2", "1", "1"]);
}
