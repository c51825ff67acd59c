//! What operators ask of clients through the broker, by Apache's mqadmin 5.3.3, of push consumers of Java 4.9.8 and 5.3.3.
//!
//! The same checks run on Apache's own broker first, so they say what mqadmin really prints. The consumer itself checks what it was handed
//! (`tests/stock/java/Called.java`). This does not show clients of other languages.

use std::io::{self, Write as _};
use std::thread;
use std::time::Duration;

use harness::{Client, Frame, Node, NodeOptions, expect, expect_passed, expect_row, wait_for};
use ringmq_peers::{Apache, BrokerOptions, Missing, Mqadmin, StockClient};

/// Longest life of the consumer: a Java client that is set back waits 10 s, and then for its next rebalance.
const TIMEOUT: Duration = Duration::from_secs(180);

/// Messages that the consumer expects.
const SENT: i64 = 10;

const GET_CONSUMER_LIST_BY_GROUP: i32 = 38;
const INVOKE_BROKER_TO_GET_CONSUMER_STATUS: i32 = 223;

/// A broker to check, and whether it sets offsets itself or tells the clients to.
struct Subject<'a> {
    name_server: &'a str,
    broker: &'a str,
    broker_name: &'a str,
    sets_offsets: bool,
}

/// RocketMQ 4 told the clients; a setting of 5 still does.
const TELLS_CLIENTS: (&str, &str) = ("useServerSideResetOffset", "false");

fn skipped(missing: &Missing) {
    writeln!(io::stderr(), "skipped: {missing}").expect("stderr is open");
}

fn apache_or_skip() -> Option<Apache> {
    Apache::locate().map_err(|missing| skipped(&missing)).ok()
}

#[test]
fn on_apache_as_reference() -> io::Result<()> {
    on_apache(true)
}

#[test]
fn on_apache_that_tells_its_clients() -> io::Result<()> {
    on_apache(false)
}

#[test]
fn on_ringmq() -> io::Result<()> {
    on_node(true)
}

#[test]
fn on_ringmq_that_tells_its_clients() -> io::Result<()> {
    on_node(false)
}

fn on_apache(sets_offsets: bool) -> io::Result<()> {
    let Some(apache) = apache_or_skip() else { return Ok(()) };
    let name_server = apache.start_name_server().expect("it starts");
    let mut options = BrokerOptions::small(&name_server.address());
    if !sets_offsets {
        options.more.push((TELLS_CLIENTS.0.to_owned(), TELLS_CLIENTS.1.to_owned()));
    }
    let broker = apache.start_broker(&options).expect("it starts");
    let (name_server, broker) = (name_server.address(), broker.address());
    let broker_name = &options.broker_name;
    check_all(&apache, &Subject { name_server: &name_server, broker: &broker, broker_name, sets_offsets })
}

fn on_node(sets_offsets: bool) -> io::Result<()> {
    let Some(apache) = apache_or_skip() else { return Ok(()) };
    let mut options = NodeOptions::default();
    if !sets_offsets {
        options.more.push((TELLS_CLIENTS.0, TELLS_CLIENTS.1.to_owned()));
    }
    let node = Node::start(&options);
    let (name_server, broker, broker_name) = (node.name_server(), node.broker(0), node.broker_name(0));
    check_all(&apache, &Subject { name_server: &name_server, broker: &broker, broker_name: &broker_name, sets_offsets })
}

/// The two versions of clients, one after the other.
fn check_all(apache: &Apache, subject: &Subject<'_>) -> io::Result<()> {
    let clients: [(&str, Result<StockClient, Missing>); 2] =
        [("CALLED5", StockClient::java_5()), ("CALLED4", StockClient::java_4())];
    let mut mqadmin = apache.start_mqadmin(subject.name_server).unwrap_or_else(|missing| panic!("{missing}"));
    for (prefix, client) in clients {
        match client {
            Ok(client) => check(&mut mqadmin, &client, prefix, subject)?,
            Err(missing) => skipped(&missing),
        }
    }
    Ok(())
}

fn check(mqadmin: &mut Mqadmin, client: &StockClient, prefix: &str, subject: &Subject<'_>) -> io::Result<()> {
    let Subject { name_server, broker, broker_name, .. } = *subject;
    let (topic, group) = (format!("{prefix}_called"), format!("G_{prefix}_called"));
    thread::scope(|scope| {
        let consumer = scope.spawn(|| client.run(name_server, prefix, &["called"], TIMEOUT).expect("the client runs"));
        let mut operator = Client::connect(broker)?;
        let client_id = wait_for("the consumer", || client_of(&mut operator, &group));
        let mut first_id = String::new();
        for number in 0..SENT {
            let queue = i32::try_from(number % 2).expect("0 or 1");
            let receipt = operator.send(&topic, queue, format!("body {number}").as_bytes())?;
            if number == 0 {
                first_id = receipt.msg_id;
            }
        }
        let committed = |operator: &mut Client| -> Option<i64> {
            let of = |operator: &mut Client, queue| operator.consumer_offset(&group, &topic, queue).ok().flatten();
            Some(of(operator, 0)? + of(operator, 1)?)
        };
        wait_for("the first round", || committed(&mut operator).filter(|sum| *sum == SENT));
        check_offsets(&mut operator, (&topic, &group, &client_id), broker_name)?;
        let commands = [
            format!("consumerConnection -g {group}"),
            format!("consumerStatus -g {group}"),
            format!("consumerStatus -g {group} -i {client_id} -s"),
            format!("consumerStatus -g {group} -i nobody@1"),
            format!("queryMsgById -t {topic} -i {first_id} -g {group} -d {client_id}"),
            format!("resetOffsetByTime -g {group} -t {topic} -s 0"),
            format!("resetOffsetByTime -g {group} -t NO_SUCH_TOPIC -s 0"),
            format!("resetOffsetByTime -g NO_SUCH_GROUP -t {topic} -s 0"),
        ];
        let outputs = mqadmin.run(&commands);
        check_outputs(&outputs, &client_id, subject);
        let outcomes = consumer.join().expect("the thread that runs it does not panic");
        expect_passed(client.name(), &outcomes);
        Ok(())
    })
}

/// The one member of a group.
fn client_of(operator: &mut Client, group: &str) -> Option<String> {
    let request = Frame::request(GET_CONSUMER_LIST_BY_GROUP).ext("consumerGroup", group);
    let answer = operator.call(request).ok().filter(|answer| answer.code == 0)?;
    Some(answer.json().ok()?["consumerIdList"][0].as_str()?.to_owned())
}

/// 223, which mqadmin 5.3.3 has a command for and does not register: where the clients say that they stand.
fn check_offsets(
    operator: &mut Client,
    (topic, group, client_id): (&str, &str, &str),
    broker_name: &str,
) -> io::Result<()> {
    let request = || Frame::request(INVOKE_BROKER_TO_GET_CONSUMER_STATUS).ext("topic", topic);
    let queue =
        |queue: u32| format!(r#"{{"brokerName":"{broker_name}","queueId":{queue},"topic":"{topic}"}}:{}"#, SENT / 2);
    let all = operator.expect_success("223", request().ext("group", group))?;
    let one = operator.expect_success("223 of one", request().ext("group", group).ext("clientAddr", client_id))?;
    for answer in [all, one] {
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        for part in [format!(r#""{client_id}":{{"#), queue(0), queue(1)] {
            expect(&text, &part);
        }
    }
    let nobody = operator.expect_success("223 of nobody", request().ext("group", group).ext("clientAddr", "nobody"))?;
    assert_eq!(String::from_utf8_lossy(&nobody.body), r#"{"consumerTable":{},"messageQueueTable":{}}"#);
    let offline = operator.call(request().ext("group", "NO_SUCH_GROUP"))?;
    assert_eq!(offline.code, 1, "{offline:?}");
    Ok(())
}

fn check_outputs(outputs: &[String], client_id: &str, subject: &Subject<'_>) {
    let broker_name = subject.broker_name;
    let [connection, status, info, nobody, direct, reset, no_topic, no_group] = outputs else {
        panic!("eight outputs, not {}", outputs.len())
    };
    expect(connection, client_id);
    expect_row(status, &["1", client_id]);
    expect(status, "Same subscription in the same group of consumer");
    for text in ["#Consumer MQ Detail#", "#Consumer jstack#", "PROP_CONSUME_TYPE", broker_name] {
        expect(info, text);
    }
    expect(nobody, "not online");
    expect(direct, "CR_SUCCESS");
    for queue in ["0", "1"] {
        expect_row(reset, &[broker_name, queue, "0"]);
    }
    expect(no_topic, "CODE: 17");
    // A broker that tells clients asks where the group stands first, and it stands nowhere.
    expect(no_group, if subject.sets_offsets { "CODE: 26" } else { "CODE: 1 " });
}
