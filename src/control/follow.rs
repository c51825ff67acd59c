//! A slave's link to its master's listen port, which rests while the shard is a master: takes topics, groups and offsets, and gives back commits
//! that the master missed.
//!
//! One task a shard. It tells the shard where the master is. When the shard follows that one's log, the master is asked for its tables: at once,
//! and then again and again; it must have the reign that the shard follows. A ringmq master says in a few bytes that nothing has changed, so it
//! is asked often; Apache's tells its tables each time. What has
//! not changed is not told again to the shard, offsets excepted: it must be able to find out that the master lacks commits that consumers
//! made here while it was away. Source of the codes: RocketMQ `SlaveSynchronize`; Apache's slave asks every 10 s (4.9) or 60 s (5.x), which
//! is how far its consumers jump back.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::announce::MasterAddress;
use super::mailbox::ShardSender;
use super::wire::{Wire, WireError};
use crate::letter::{Metadata, OffsetCommit, ToShard};
use crate::model::{MasterLog, ShardId};
use crate::protocol::body::{BodyError, ConsumerOffsets, DelayOffsets, GroupTable, TopicTable};
use crate::protocol::code::RequestCode;
use crate::protocol::reply::ExtValue;
use crate::protocol::request::{GIVEN_BACK, MASTER_REIGN, TABLE_VERSION, UNLESS_VERSION};

/// From one look at the tables of a ringmq master to the next.
const SYNC_PERIOD: Duration = Duration::from_millis(500);
/// The same of another master, whose answers are whole tables.
const SYNC_PERIOD_WHOLE: Duration = Duration::from_secs(3);
/// Offsets are told again after this many looks, changed or not.
const OFFSETS_TOLD_EVERY: u32 = 20;
/// The master has this long for an answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Until the next try to reach a master that cannot be reached.
const RETRY: Duration = Duration::from_millis(500);

/// See the module.
pub(super) struct Follower {
    /// Which shard of the node.
    pub(super) shard: ShardId,
    pub(super) mailbox: ShardSender,
    /// `haMasterAddress` of this shard: wins over what name servers say.
    pub(super) ha_master: Option<String>,
    /// Whom to follow, if anybody.
    pub(super) master: watch::Receiver<Followed>,
    /// Where the tables of the master that is followed were found last.
    pub(super) proven: Option<SocketAddr>,
    /// What the shard wants to give back.
    pub(super) commits: mpsc::Receiver<Vec<OffsetCommit>>,
}

/// What is known of a shard's master.
#[derive(Clone, Debug, Default)]
pub(super) struct Followed {
    /// Whether the shard is a slave: a master follows nobody.
    pub(super) is_slave: bool,
    /// What name servers say.
    pub(super) master: Option<MasterAddress>,
    /// Whose log the shard follows: only that master's tables are the shard's, whoever is registered.
    pub(super) log: Option<MasterLog>,
}

/// Where the master is, as the shard was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct MasterPlace {
    ha_address: Option<SocketAddr>,
    address: Option<SocketAddr>,
}

/// Why a session with a master ended.
enum SessionEnd {
    /// Name servers say something else now.
    Changed,
    Failed(WireError),
    /// The control plane ends.
    Stopped,
}

impl Follower {
    /// Runs until the control plane ends. Local task.
    pub(super) async fn run(mut self) {
        let mut told = MasterPlace::default();
        let mut warned = false;
        // Whether the master that was the right one last is asked, since who is registered now is not.
        let mut goes_back = false;
        loop {
            let found = self.look_up().await;
            if told != found {
                info!(shard = %self.shard, address = %or_none(found.address), ha_address = %or_none(found.ha_address), "the master of this slave");
                told = found;
                let letter = ToShard::MasterFound { ha_address: found.ha_address, address: found.address };
                if self.mailbox.send(letter).await.is_err() {
                    return;
                }
            }
            let address = if goes_back { self.proven } else { found.address };
            let log = self.master.borrow().log;
            let ended = match address.zip(log) {
                Some((address, log)) => self.session(address, log, &mut warned).await,
                None => match self.master.changed().await {
                    Ok(()) => SessionEnd::Changed,
                    Err(_) => SessionEnd::Stopped,
                },
            };
            match ended {
                SessionEnd::Changed => goes_back = false,
                SessionEnd::Stopped => return,
                SessionEnd::Failed(error) => {
                    if warned {
                        debug!(shard = %self.shard, %error, "the master's tables are still not to be had");
                    } else {
                        warn!(shard = %self.shard, address = %or_none(found.address), %error, "the master's tables cannot be had; trying again");
                        warned = true;
                    }
                    goes_back = !goes_back && self.proven.is_some() && self.proven != found.address;
                    sleep(RETRY).await;
                }
            }
        }
    }

    async fn look_up(&mut self) -> MasterPlace {
        let Followed { is_slave, master: said, .. } = self.master.borrow_and_update().clone();
        if !is_slave {
            return MasterPlace::default();
        }
        let ha_address = match (&self.ha_master, &said) {
            (Some(fixed), _) => resolve(fixed).await,
            (None, Some(master)) => resolve(&master.ha_address).await,
            (None, None) => None,
        };
        let address = match &said {
            Some(master) => resolve(&master.address).await,
            None => None,
        };
        MasterPlace { ha_address, address }
    }

    /// One connection to the master, until it fails or the master is another.
    async fn session(&mut self, address: SocketAddr, log: MasterLog, warned: &mut bool) -> SessionEnd {
        let name = address.to_string();
        let connected = tokio::select! {
            connected = Wire::connect(&name) => connected,
            changed = self.master.changed() => return if changed.is_ok() { SessionEnd::Changed } else { SessionEnd::Stopped },
        };
        let mut wire = match connected {
            Ok(wire) => wire,
            Err(error) => return SessionEnd::Failed(error),
        };
        let mut seen = Seen { reign: log.text(), ..Seen::default() };
        loop {
            match seen.look(&mut wire).await {
                Ok(Some(metadata)) => {
                    if self.mailbox.send(ToShard::Metadata(Box::new(metadata))).await.is_err() {
                        return SessionEnd::Stopped;
                    }
                }
                Ok(None) => {}
                Err(error) => return SessionEnd::Failed(error),
            }
            *warned = false;
            self.proven = Some(address);
            let mut period = std::pin::pin!(sleep(seen.period()));
            loop {
                tokio::select! {
                    () = &mut period => break,
                    changed = self.master.changed() => {
                        return if changed.is_ok() { SessionEnd::Changed } else { SessionEnd::Stopped };
                    }
                    Some(commits) = self.commits.recv() => {
                        if let Err(error) = self.give_back(&mut wire, commits).await {
                            return SessionEnd::Failed(error);
                        }
                    }
                    error = wire.wait_closed() => return SessionEnd::Failed(error),
                }
            }
        }
    }

    /// 15, one by one: after a failover these are as many as there are groups and queues.
    async fn give_back(&self, wire: &mut Wire, commits: Vec<OffsetCommit>) -> Result<(), WireError> {
        let count = commits.len();
        for commit in &commits {
            let ext = [
                ("consumerGroup", ExtValue::Str(commit.group.as_str())),
                ("topic", ExtValue::Str(commit.topic.as_str())),
                ("queueId", ExtValue::I64(i64::from(commit.queue.0))),
                ("commitOffset", ExtValue::I64(i64::try_from(commit.offset.0).unwrap_or(i64::MAX))),
                (GIVEN_BACK, ExtValue::Bool(true)),
            ];
            match wire.ask(RequestCode::UpdateConsumerOffset, &ext, &[], ANSWER).await {
                Ok(_) => {}
                // Its topic or group is gone there: nobody will ask for it.
                Err(WireError::Refused { code, remark }) => {
                    debug!(shard = %self.shard, ?commit, code, remark, "the master does not take back a commit");
                }
                Err(error) => return Err(error),
            }
        }
        info!(shard = %self.shard, count, "commits made here while the master was away were given back to it");
        // A closed mailbox: the shard has ended.
        drop(self.mailbox.send(ToShard::GivenBack { commits }).await);
        Ok(())
    }
}

/// The answers of the last look, so that what has not changed costs the shard nothing.
#[derive(Default)]
struct Seen {
    /// Whose they must be, where that can be told.
    reign: Option<String>,
    topics: Last,
    offsets: Last,
    delay_offsets: Last,
    groups: Last,
    looks: u32,
}

/// One table as it was last told.
#[derive(Default)]
struct Last {
    body: Bytes,
    /// As a ringmq master calls it; empty with others.
    version: String,
    /// The reign of who told it, if he is a master of ringmq.
    reign: String,
}

impl Seen {
    fn period(&self) -> Duration {
        if self.offsets.version.is_empty() { SYNC_PERIOD_WHOLE } else { SYNC_PERIOD }
    }

    /// What has changed, if anything has.
    async fn look(&mut self, wire: &mut Wire) -> Result<Option<Metadata>, WireError> {
        if self.looks.is_multiple_of(OFFSETS_TOLD_EVERY) {
            self.offsets = Last::default();
        }
        self.looks = self.looks.wrapping_add(1);
        let topics = self.topics.table(wire, RequestCode::GetAllTopicConfig, TopicTable::decode).await?;
        // All tables come over one connection: who answers the first answers the others.
        if let Some(reign) = &self.reign
            && self.topics.reign != *reign
        {
            let remark = format!("its reign is {:?}, and the master that is followed has {reign}", self.topics.reign);
            return Err(WireError::Refused { code: 0, remark });
        }
        let metadata = Metadata {
            topics,
            offsets: self.offsets.table(wire, RequestCode::GetAllConsumerOffset, ConsumerOffsets::decode).await?,
            delay_offsets: self.delay_offsets.table(wire, RequestCode::GetAllDelayOffset, DelayOffsets::decode).await?,
            groups: self.groups.table(wire, RequestCode::GetAllSubscriptiongroupConfig, GroupTable::decode).await?,
        };
        let is_empty = metadata.topics.is_none()
            && metadata.offsets.is_none()
            && metadata.delay_offsets.is_none()
            && metadata.groups.is_none();
        Ok(if is_empty { None } else { Some(metadata) })
    }
}

impl Last {
    /// A body that differs from the last one. A master that does not have the table says so, which is no reason to give up the others.
    async fn changed(&mut self, wire: &mut Wire, code: RequestCode) -> Result<Option<Bytes>, WireError> {
        let ext = [(UNLESS_VERSION, ExtValue::Str(&self.version))];
        let answer = match wire.ask(code, &ext, &[], ANSWER).await {
            Ok(answer) => answer,
            Err(WireError::Refused { code: answered, remark }) => {
                debug!(?code, answered, remark, "the master does not give a table");
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        self.version = answer.field(TABLE_VERSION).unwrap_or_default().to_owned();
        self.reign = answer.field(MASTER_REIGN).unwrap_or_default().to_owned();
        if answer.body.is_empty() || answer.body == self.body {
            return Ok(None);
        }
        self.body = answer.body;
        Ok(Some(self.body.clone()))
    }

    async fn table<T>(
        &mut self,
        wire: &mut Wire,
        code: RequestCode,
        decode: impl FnOnce(&[u8]) -> Result<T, BodyError>,
    ) -> Result<Option<T>, WireError> {
        let Some(body) = self.changed(wire, code).await? else { return Ok(None) };
        if !self.version.is_empty() {
            // The version tells a change: the text need not be kept.
            self.body = Bytes::new();
        }
        match decode(&body) {
            Ok(table) => Ok(Some(table)),
            Err(error) => {
                warn!(?code, %error, "a table of the master cannot be read; what is known stays");
                Ok(None)
            }
        }
    }
}

fn or_none(address: Option<SocketAddr>) -> String {
    address.map_or_else(|| "none".to_owned(), |address| address.to_string())
}

/// The first address of `host:port`. Names may change their address, so they are resolved whenever they are needed.
async fn resolve(address: &str) -> Option<SocketAddr> {
    let looked_up = tokio::net::lookup_host(address);
    bounded(looked_up).await?.ok()?.next()
}

async fn bounded<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(Duration::from_secs(3), future).await.ok()
}
