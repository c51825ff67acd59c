//! Registers shards with name servers: one task and one connection a shard and name server, each on its own.
//!
//! A link registers as soon as it is connected, at every change, and each period as a sign of life; a name server that is down
//! delays its own link only. The connection stays open because name servers drop a broker whose connection closes.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use super::announce::{Announcer, LinkReport, MasterAddress, ShardView};
use super::wire::{Wire, WireError};
use crate::limits::FRAME_BYTES_MAX;
use crate::model::{BrokerId, ShardId};
use crate::protocol::body::{ClusterInfo, DataVersion, RegisterBody, TopicConfig, TopicTable, perm};
use crate::protocol::code::RequestCode;
use crate::protocol::reply::ExtValue;
use crate::protocol::request::CHANGES_ONLY;

/// From one registration of a slave to the next while no master of its is known.
const NO_MASTER_PERIOD: Duration = Duration::from_secs(1);
/// Time until the next try, doubled each time.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(10);
/// How often it is said that somebody else claims a shard's place.
const CLAIM_SAID_EVERY: Duration = Duration::from_secs(600);
/// A goodbye at the end of the process must not hold it up.
const GOODBYE: Duration = Duration::from_millis(500);
/// After a change the whole table is told as well, behind what changed, if it has up to this many topics.
const WHOLE_TOPICS_MAX: usize = 1_000;
/// Topics of one request. With the longest names this is a third of a frame.
const PART_TOPICS_MAX: usize = 20_000;
const PART_BYTES_MAX: usize = FRAME_BYTES_MAX - 64 * 1024;

/// How a shard appears at name servers, whatever its role is: that and its brokerId it says itself.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct Identity {
    /// Which shard of the node.
    pub shard: ShardId,
    pub cluster: String,
    pub broker_name: String,
    /// `ip:port` for clients.
    pub address: String,
    /// `ip:port` for slaves.
    pub ha_address: String,
    /// Of a slave, `haMasterAddress` as `HOST:PORT` of this shard's master.
    pub ha_master: Option<String>,
}

/// How often and how patiently.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From one registration to the next.
    pub period: Duration,
    /// A name server has this long for an answer.
    pub answer_within: Duration,
}

/// What the links of a shard are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Not to be registered yet.
    Nothing,
    /// Registered, with this generation at least.
    Generation(u64),
    /// Unregistered; the link then ends.
    Goodbye,
}

/// One shard at one name server.
pub(crate) struct Registrar {
    pub(crate) identity: Rc<Identity>,
    /// Number of the name server, for reports.
    pub(crate) index: usize,
    /// Its `host:port`.
    pub(crate) name_server: String,
    /// Where the topics are.
    pub(crate) announcer: Rc<RefCell<Announcer>>,
    pub(crate) wanted: watch::Receiver<Wanted>,
    pub(crate) reports: mpsc::Sender<(ShardId, usize, LinkReport)>,
    /// How often and how patiently.
    pub(crate) pace: Pace,
}

/// Why a link starts over.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("the control plane knows no such shard")]
    NoShard,
    #[error("20,000 topics take {bytes} bytes, more than a frame; give them shorter attributes")]
    TooLong { bytes: usize },
}

/// How a session ended other than by an error.
struct SaidGoodbye;

impl Registrar {
    /// Runs until goodbye was said. Local task.
    pub(crate) async fn run(mut self) {
        let mut retry = RETRY_MIN;
        let mut warned = false;
        loop {
            if self.wait_until_wanted().await == Wanted::Goodbye {
                return;
            }
            let began = Instant::now();
            match self.session(&mut warned).await {
                Ok(SaidGoodbye) => return,
                Err(error) => {
                    let (name_server, broker) = (&self.name_server, &self.identity.broker_name);
                    if warned {
                        debug!(%name_server, broker, %error, "still not registered");
                    } else {
                        warn!(%name_server, broker, %error, "not registered with this name server; trying again");
                        warned = true;
                    }
                }
            }
            self.report(LinkReport::Down).await;
            retry = if began.elapsed() > RETRY_MAX { RETRY_MIN } else { retry.saturating_mul(2).min(RETRY_MAX) };
            tokio::select! {
                () = sleep(retry) => {}
                _ = self.wanted.wait_for(|wanted| *wanted == Wanted::Goodbye) => return,
            }
        }
    }

    async fn wait_until_wanted(&mut self) -> Wanted {
        match self.wanted.wait_for(|wanted| *wanted != Wanted::Nothing).await {
            Ok(wanted) => *wanted,
            // The control plane is gone: nobody is left to register for.
            Err(_) => Wanted::Goodbye,
        }
    }

    async fn report(&self, report: LinkReport) {
        // A closed channel means that the control plane ends, and the report has no reader.
        let _ended = self.reports.send((self.identity.shard, self.index, report)).await;
    }

    /// One connection: registers, then waits for what comes next.
    async fn session(&mut self, warned: &mut bool) -> Result<SaidGoodbye, LinkError> {
        let mut wire = Wire::connect(&self.name_server).await?;
        let mut told: Option<u64> = None;
        let mut claim = None;
        let mut looked = Instant::now();
        loop {
            let mut period = self.pace.period;
            let wanted = *self.wanted.borrow_and_update();
            match wanted {
                Wanted::Goodbye => {
                    // The name server unregisters on the close of the connection too.
                    drop(timeout(GOODBYE, self.unregister(&mut wire)).await);
                    return Ok(SaidGoodbye);
                }
                Wanted::Nothing => {}
                Wanted::Generation(_) => {
                    if told == Some(self.generation()) && looked.elapsed() >= self.pace.period {
                        // Nothing but the period has brought it here: whoever has registered meanwhile is there still.
                        looked = Instant::now();
                        self.look_for_claim(&mut wire, &mut claim).await?;
                    }
                    let (generation, master) = self.register(&mut wire, told).await?;
                    if std::mem::take(warned) || told.is_none() {
                        info!(name_server = %self.name_server, broker = %self.identity.broker_name, "registered");
                    }
                    told = Some(generation);
                    if self.broker_id() != BrokerId::MASTER && master.is_none() {
                        // Nothing to copy until the master is there: it is looked for often.
                        period = period.min(NO_MASTER_PERIOD);
                    }
                    self.report(LinkReport::Registered { generation, master }).await;
                }
            }
            tokio::select! {
                changed = self.wanted.changed() => if changed.is_err() { return Ok(SaidGoodbye) },
                () = sleep(period) => {}
                closed = wire.wait_closed() => return Err(closed.into()),
            }
        }
    }

    /// The brokerId that the shard has now.
    fn broker_id(&self) -> BrokerId {
        self.announcer.borrow().shard(self.identity.shard).map_or(BrokerId::MASTER, |view| view.broker_id)
    }

    fn generation(&self) -> u64 {
        self.announcer.borrow().shard(self.identity.shard).map_or(0, |view| view.generation)
    }

    /// 106: whether another address has taken this shard's name and number since it has registered. It is said, and taken back by the
    /// registration that follows.
    async fn look_for_claim(&self, wire: &mut Wire, said: &mut Option<(String, Instant)>) -> Result<(), LinkError> {
        let answer = wire.ask(RequestCode::GetBrokerClusterInfo, &[], &[], self.pace.answer_within).await;
        let info = match answer {
            Ok(answer) => ClusterInfo::decode(&answer.body).unwrap_or_default(),
            // To be registered matters more than to know this.
            Err(WireError::Refused { .. } | WireError::AnswerTimeout(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let (own, id) = (&self.identity, self.broker_id());
        let Some(other) = info.brokers.get(own.broker_name.as_str()).and_then(|broker| broker.addresses.get(&id))
        else {
            return Ok(());
        };
        let is_due = said.as_ref().is_none_or(|(last, at)| last != other || at.elapsed() >= CLAIM_SAID_EVERY);
        if *other != own.address && is_due {
            warn!(
                broker = %own.broker_name, %id, own = %own.address, %other, name_server = %self.name_server,
                "another address has registered as this broker: two nodes have one name and number, or somebody claims its place; end one of them"
            );
            *said = Some((other.clone(), Instant::now()));
        }
        Ok(())
    }

    /// 103; the generation that was told, and for a slave where its master is.
    async fn register(&self, wire: &mut Wire, told: Option<u64>) -> Result<(u64, Option<MasterAddress>), LinkError> {
        let (generation, broker_id, bodies) = {
            let announcer = self.announcer.borrow();
            let view = announcer.shard(self.identity.shard).ok_or(LinkError::NoShard)?;
            (view.generation, view.broker_id, bodies_of(view, told, permission_of(view, announcer.permission())))
        };
        let mut master = None;
        for part in &bodies {
            master = self.register_part(wire, broker_id, part).await?;
        }
        Ok((generation, master))
    }

    async fn register_part(
        &self,
        wire: &mut Wire,
        broker_id: BrokerId,
        part: &RegistrationPart,
    ) -> Result<Option<MasterAddress>, LinkError> {
        let RegistrationPart { body, is_whole } = part;
        if body.len() > PART_BYTES_MAX {
            return Err(LinkError::TooLong { bytes: body.len() });
        }
        let crc = i64::from(crc32fast::hash(body) & 0x7FFF_FFFF);
        let identity = &*self.identity;
        let ext = [
            ("brokerName", ExtValue::Str(&identity.broker_name)),
            ("brokerAddr", ExtValue::Str(&identity.address)),
            ("clusterName", ExtValue::Str(&identity.cluster)),
            ("haServerAddr", ExtValue::Str(&identity.ha_address)),
            ("brokerId", ExtValue::I64(i64::try_from(broker_id.0).unwrap_or(i64::MAX))),
            // A slave whose master is gone keeps the topic's route, and where the name server allows it stands in the master's
            // place, without write permission: orderly consumers ask nobody else for locks.
            ("enableActingMaster", ExtValue::Bool(true)),
            ("compressed", ExtValue::Bool(false)),
            (CHANGES_ONLY, ExtValue::Bool(!is_whole)),
            ("bodyCrc32", ExtValue::I64(crc)),
        ];
        let answer = wire.ask(RequestCode::RegisterBroker, &ext, body, self.pace.answer_within).await?;
        let (address, ha_address) = (answer.field("masterAddr"), answer.field("haServerAddr"));
        let master = address.zip(ha_address).filter(|(address, _)| *address != identity.address);
        Ok(master.filter(|_| broker_id != BrokerId::MASTER).map(|(address, ha_address)| MasterAddress {
            address: address.to_owned(),
            ha_address: ha_address.to_owned(),
        }))
    }

    /// 104.
    async fn unregister(&self, wire: &mut Wire) -> Result<(), LinkError> {
        let identity = &*self.identity;
        let ext = [
            ("brokerName", ExtValue::Str(&identity.broker_name)),
            ("brokerAddr", ExtValue::Str(&identity.address)),
            ("clusterName", ExtValue::Str(&identity.cluster)),
            ("brokerId", ExtValue::I64(i64::try_from(self.broker_id().0).unwrap_or(i64::MAX))),
        ];
        wire.ask(RequestCode::UnregisterBroker, &ext, &[], GOODBYE).await?;
        Ok(())
    }
}

/// What clients may do with a shard whose node is configured so. A producer goes elsewhere as long as nothing can be stored.
fn permission_of(view: &ShardView, configured: u8) -> u8 {
    if view.holds_back { u8::try_from(u32::from(configured) & !perm::WRITE).unwrap_or(0) } else { configured }
}

/// One body of a registration.
struct RegistrationPart {
    body: Vec<u8>,
    /// Whether it is all of the table.
    is_whole: bool,
}

/// The bodies of a registration: the whole table to a name server that may know nothing, and again each period; of a change, what changed since
/// `told`. In parts that fit frames.
///
/// A name server takes changes of known topics with a new version only, and then of all topics that it is told: a write permission that an
/// operator wiped there comes back with whatever else is told. So a change is told alone, with the new version. Behind it goes a table that is not
/// large, with the same version: name servers with `deleteTopicWithBrokerRegistration` have forgotten what they were not told.
fn bodies_of(view: &ShardView, told: Option<u64>, permission: u8) -> Vec<RegistrationPart> {
    let since = told.filter(|told| *told < view.generation);
    let Some(since) = since else {
        return parts_of(view, 0, permission, told.is_none());
    };
    let mut parts = parts_of(view, since, permission, true);
    if view.topics.len() <= WHOLE_TOPICS_MAX {
        parts.extend(parts_of(view, 0, permission, false));
    }
    parts
}

/// What changed in generations after `since`. If name servers are to take it all (`is_news`) each part has a version of its own, and the last one
/// the table's; else they only add what they lack.
fn parts_of(view: &ShardView, since: u64, permission: u8, is_news: bool) -> Vec<RegistrationPart> {
    let topics = view.topics.values().filter(|(_, changed_in)| *changed_in > since);
    let topics: Vec<TopicConfig> = topics.map(|(config, _)| masked(config, permission)).collect();
    let parts: Vec<&[TopicConfig]> =
        if topics.is_empty() { vec![&[]] } else { topics.chunks(PART_TOPICS_MAX).collect() };
    let last = parts.len().saturating_sub(1);
    let part = |(index, part): (usize, &&[TopicConfig])| {
        let behind = if is_news { i64::try_from(last.saturating_sub(index)).unwrap_or(0) } else { 0 };
        let version = DataVersion { counter: view.version.counter.saturating_sub(behind), ..view.version };
        let topics = part.iter().map(|config| (config.name.clone(), config.clone())).collect();
        let body = RegisterBody { table: TopicTable { version, topics }, filter_servers: Vec::new() }.encode();
        RegistrationPart { body, is_whole: since == 0 && last == 0 }
    };
    parts.iter().enumerate().map(part).collect()
}

/// A node that may not be written, or not be read, says so in every topic. The inherit bit of a node that may both stays.
fn masked(config: &TopicConfig, permission: u8) -> TopicConfig {
    let allowed = u32::from(permission);
    let both = perm::READ | perm::WRITE;
    let mut config = config.clone();
    if allowed & both != both {
        config.perm &= allowed;
    }
    config
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::TopicName;

    fn view(topics: &[(&str, u64)], generation: u64, counter: i64) -> ShardView {
        let config = |name: &str| TopicConfig::new(name, 4);
        let topics: BTreeMap<TopicName, _> =
            topics.iter().map(|(name, changed_in)| (TopicName::from(*name), (config(name), *changed_in))).collect();
        let version = DataVersion { counter, ..DataVersion::default() };
        let mut view = ShardView::default();
        (view.topics, view.version, view.generation) = (topics, version, generation);
        view
    }

    fn shown(parts: &[RegistrationPart]) -> Vec<String> {
        let show = |part: &RegistrationPart| {
            let table = RegisterBody::decode(&part.body).expect("it was just made").table;
            let names: Vec<String> = table.topics.keys().map(ToString::to_string).collect();
            format!("{} v{}{}", names.join(","), table.version.counter, if part.is_whole { " whole" } else { "" })
        };
        parts.iter().map(show).collect()
    }

    #[test]
    fn what_changed_is_told_alone_and_with_the_new_version() {
        let check = |view: &ShardView, told: Option<u64>, expected: &[&str]| {
            assert_eq!(shown(&bodies_of(view, told, 6)), expected, "told {told:?}");
        };
        let small = view(&[("A", 1), ("B", 2), ("C", 3)], 3, 9);
        check(&small, None, &["A,B,C v9 whole"]);
        check(&small, Some(3), &["A,B,C v9 whole"]);
        check(&small, Some(2), &["C v9", "A,B,C v9 whole"]);
        check(&small, Some(1), &["B,C v9", "A,B,C v9 whole"]);
        check(&view(&[("A", 1)], 2, 9), Some(1), &[" v9", "A v9 whole"]); // one was deleted
    }

    #[test]
    fn parts_of_a_large_table_have_versions_of_their_own_when_they_are_news() {
        let names: Vec<String> = (0..PART_TOPICS_MAX + 1).map(|n| format!("T{n}")).collect();
        let mut topics: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
        topics[0].1 = 2;
        let large = view(&topics, 2, 9);
        let versions = |told| {
            let parts = bodies_of(&large, told, 6);
            let version =
                |part: &RegistrationPart| RegisterBody::decode(&part.body).expect("made").table.version.counter;
            (parts.iter().map(version).collect::<Vec<_>>(), parts.iter().any(|part| part.is_whole))
        };
        assert_eq!(versions(None), (vec![8, 9], false));
        assert_eq!(versions(Some(2)), (vec![9, 9], false));
        assert_eq!(shown(&bodies_of(&large, Some(1), 6)), ["T0 v9"]);
    }
}
