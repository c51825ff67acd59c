//! A slave has what its master has, whatever happens to either.
//!
//! Two nodes of the built binary under one name server. What was sent is compared with what the slave has by the book of all that was
//! sent ([`harness::Audit`]): content, queue offsets and log offsets.
#![allow(clippy::disallowed_methods, reason = "a test has clocks, files, threads and sockets")]
mod harness;

use harness::{Client, Pair, PairOptions};

const TOPIC: &str = "replicated";

#[test]
fn a_slave_has_the_bytes_of_its_master_and_serves_them_when_it_is_gone() {
    let mut pair = Pair::start(&PairOptions::default());
    let mut producer = pair.to_master();
    producer.create_topic(TOPIC, 2).expect("it answers");
    for number in 0..500_u32 {
        let body = vec![number.to_be_bytes()[3]; 1 + usize::try_from(number).expect("small") * 7];
        let receipt = producer.send(TOPIC, i32::try_from(number % 2).expect("small"), &body).expect("it answers");
        assert_eq!(receipt.code, 0);
    }
    let raw = |client: &mut Client, queue_id| {
        let (mut bytes, mut next) = (Vec::new(), 0);
        loop {
            let response = client.call(Client::pull_request("G", TOPIC, queue_id, next, 32)).expect("it answers");
            if response.code != 0 {
                return bytes;
            }
            next = Client::pulled(&response).expect("it found some").next_begin_offset;
            bytes.extend_from_slice(&response.body);
        }
    };
    let expected: Vec<Vec<u8>> = (0..2).map(|queue_id| raw(&mut producer, queue_id)).collect();
    (0..2).for_each(|queue_id| pair.wait_caught_up(TOPIC, queue_id));
    pair.master.kill();
    let mut consumer = pair.to_slave();
    for (queue_id, expected) in (0..2).zip(&expected) {
        assert!(raw(&mut consumer, queue_id) == *expected, "queue {queue_id} differs");
    }
}
