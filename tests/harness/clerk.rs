//! Changes of topics, groups and consumer offsets while the broker may die, and what must be left of them.
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Client, code};
use crate::frame::Frame;

const UPDATE_AND_CREATE_GROUP: i32 = 200;
const GET_ALL_TOPIC_CONFIG: i32 = 21;
const GET_ALL_GROUP_CONFIG: i32 = 201;

/// What a crash may take from the consumer offsets: the last second, and half a second because two processes look at clocks.
const OFFSETS_LOST_MAX: Duration = Duration::from_millis(1500);
/// Group and topic whose offset moves all the time.
const GROUP: &str = "CLERK";

/// What is known of a topic or group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Its creation was acknowledged.
    There,
    /// Its deletion was acknowledged.
    Gone,
    /// A change was asked for and not answered.
    Open,
}

/// One who changes settings of one shard, and remembers what the broker acknowledged.
#[derive(Debug)]
pub struct Clerk {
    /// The topic whose queue 0 the offsets are of.
    topic: String,
    topics: BTreeMap<String, Known>,
    groups: BTreeMap<String, Known>,
    /// Offsets acknowledged, with the time of the reply; ascending in both.
    offsets: Vec<(Instant, i64)>,
    /// The last offset asked for.
    offset_last: i64,
    turns: u32,
}

impl Clerk {
    /// A clerk of the shard that has `topic`.
    pub fn new(topic: &str) -> Self {
        Self {
            topic: topic.to_owned(),
            topics: BTreeMap::new(),
            groups: BTreeMap::new(),
            offsets: Vec::new(),
            offset_last: 0,
            turns: 0,
        }
    }

    /// Works until the broker dies or `ends`.
    pub fn work(&mut self, address: &str, ends: &AtomicBool) -> io::Result<()> {
        let mut client = Client::connect(address)?;
        while !ends.load(Ordering::Relaxed) {
            self.turn(&mut client)?;
            // A pace, not a wait: settings change seldom, and the producers need the processor.
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// One change of an offset, now and then of a topic or group too.
    pub fn turn(&mut self, client: &mut Client) -> io::Result<()> {
        self.turns += 1;
        if self.groups.get(GROUP) != Some(&Known::There) {
            self.create_group(client, GROUP)?;
        }
        self.offset_last += 1;
        client.commit_offset(GROUP, &self.topic, 0, self.offset_last)?;
        self.offsets.push((Instant::now(), self.offset_last));
        if self.turns.is_multiple_of(8) {
            let name = format!("made-{}", self.turns);
            self.topics.insert(name.clone(), Known::Open);
            client.create_topic(&name, 2)?;
            self.topics.insert(name, Known::There);
        }
        if self.turns.is_multiple_of(24) {
            let name = format!("made-{}", self.turns - 8);
            self.topics.insert(name.clone(), Known::Open);
            let request = Frame::request(code::DELETE_TOPIC_IN_BROKER).ext("topic", &name);
            client.expect_success("delete topic", request)?;
            self.topics.insert(name, Known::Gone);
        }
        if self.turns.is_multiple_of(16) {
            self.create_group(client, &format!("group-{}", self.turns))?;
        }
        Ok(())
    }

    fn create_group(&mut self, client: &mut Client, name: &str) -> io::Result<()> {
        self.groups.insert(name.to_owned(), Known::Open);
        let config = json!({"groupName": name, "consumeEnable": true, "retryQueueNums": 1, "retryMaxTimes": 3});
        let request = Frame::request(UPDATE_AND_CREATE_GROUP).body(config.to_string());
        client.expect_success("create group", request)?;
        self.groups.insert(name.to_owned(), Known::There);
        Ok(())
    }

    /// Compares the broker with what it acknowledged before it died at `killed`.
    pub fn verify(&mut self, client: &mut Client, killed: Instant) -> Result<(), String> {
        let error = |error: io::Error| error.to_string();
        let topics = table(client, GET_ALL_TOPIC_CONFIG, "topicConfigTable").map_err(error)?;
        compare("topic", &mut self.topics, &topics)?;
        let groups = table(client, GET_ALL_GROUP_CONFIG, "subscriptionGroupTable").map_err(error)?;
        compare("group", &mut self.groups, &groups)?;
        let offset = client.consumer_offset(GROUP, &self.topic, 0).map_err(error)?.unwrap_or(0);
        let durable = self.offsets.iter().filter(|(at, _)| killed.duration_since(*at) > OFFSETS_LOST_MAX);
        let expected = durable.map(|(_, offset)| *offset).next_back().unwrap_or(0);
        if !(expected..=self.offset_last).contains(&offset) {
            return Err(format!("consumer offset {offset} after the crash, not {expected}..={}", self.offset_last));
        }
        // From now on this is the truth, whatever was lost.
        self.offsets = vec![(Instant::now(), offset)];
        Ok(())
    }

    /// How many topics and groups are known to be there.
    pub fn known(&self) -> usize {
        self.topics.values().chain(self.groups.values()).filter(|known| **known == Known::There).count()
    }
}

fn table(client: &mut Client, request: i32, name: &str) -> io::Result<Value> {
    let mut body = client.expect_success(name, Frame::request(request))?.json()?;
    Ok(body[name].take())
}

/// Holds the broker's `table` against what is known; what was open is decided by it, so that it cannot change any more.
fn compare(what: &str, known: &mut BTreeMap<String, Known>, table: &Value) -> Result<(), String> {
    for (name, known) in known {
        let there = table.get(name).is_some();
        match *known {
            Known::There if !there => return Err(format!("{what} {name} was created and is lost")),
            Known::Gone if there => return Err(format!("{what} {name} was deleted and is back")),
            Known::Open => *known = if there { Known::There } else { Known::Gone },
            Known::There | Known::Gone => {}
        }
    }
    Ok(())
}
