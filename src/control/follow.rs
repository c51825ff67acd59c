//! A slave's link to its master's listen port, which rests while the shard is a master: takes topics, groups and offsets, and gives back commits
//! that the master missed.
//!
//! One task a shard. It tells the shard where the master is. When the shard follows that one's log, the master is asked for its tables, as
//! `letter::tables` says, and then again and again for what has changed; it must have the reign that the shard follows. Apache's tells its tables whole
//! each time: they are told to the shard in parts, and only if they have changed, offsets excepted: it must be able to find out that the master lacks
//! commits that consumers made here while it was away. Source of the codes: RocketMQ `SlaveSynchronize`; Apache's slave asks every 10 s (4.9) or 60 s
//! (5.x), which is how far its consumers jump back.

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
use crate::letter::{self, MasterTables, OffsetCommit, TableFollower, ToShard};
use crate::model::{MasterLog, ShardId};
use crate::protocol::body::{
    BodyError, ConsumerOffsets, DelayOffsets, GroupTable, TableChange, TablePlace, TopicTable, decode_request_modes,
};
use crate::protocol::code::{RequestCode, ResponseCode};
use crate::protocol::reply::ExtValue;
use crate::protocol::request::{GIVEN_BACK, MASTER_REIGN};
use crate::said::BY_STRANGERS;

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
                info!(target: BY_STRANGERS, shard = %self.shard, address = %or_none(found.address), ha_address = %or_none(found.ha_address), "the master of this slave");
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
                        warn!(target: BY_STRANGERS, shard = %self.shard, address = %or_none(found.address), %error, "the master's tables cannot be had; trying again");
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
            if let Err(ended) = seen.look(&mut wire, &self.mailbox).await {
                return ended;
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

/// What is known of the master's tables.
#[derive(Default)]
struct Seen {
    /// Whose they must be, where that can be told.
    reign: Option<String>,
    follower: TableFollower,
    /// Of a master that tells whole tables: the last ones.
    whole: Option<ToldWhole>,
}

impl From<WireError> for SessionEnd {
    fn from(error: WireError) -> SessionEnd {
        SessionEnd::Failed(error)
    }
}

fn wrong(remark: impl Into<String>) -> SessionEnd {
    SessionEnd::Failed(WireError::Refused { code: 0, remark: remark.into() })
}

impl Seen {
    fn period(&self) -> Duration {
        if self.whole.is_some() { SYNC_PERIOD_WHOLE } else { SYNC_PERIOD }
    }

    /// Tells the shard what has changed, if anything has.
    async fn look(&mut self, wire: &mut Wire, mailbox: &ShardSender) -> Result<(), SessionEnd> {
        loop {
            if let Some(whole) = &mut self.whole {
                return whole.look(wire, mailbox).await;
            }
            let request = self.follower.request();
            let ext: Vec<_> = request.iter().map(|(field, value)| (*field, ExtValue::Str(value))).collect();
            let answer = match wire.ask(RequestCode::TableChanges, &ext, &[], ANSWER).await {
                Err(WireError::Refused { code, .. })
                    if code == ResponseCode::RequestCodeNotSupported.number() && self.reign.is_none() =>
                {
                    self.whole = Some(ToldWhole::default());
                    continue;
                }
                answer => answer?,
            };
            let reign = answer.field(MASTER_REIGN);
            if self.reign.is_some() && reign != self.reign.as_deref() {
                let followed = self.reign.as_deref().unwrap_or_default();
                return Err(wrong(format!("its reign is {reign:?}, and the master that is followed has {followed}")));
            }
            let followed = self.follower.answered(|field| answer.field(field), &answer.body).map_err(wrong)?;
            for told in followed.letters {
                tell(mailbox, told).await?;
            }
            if !followed.goes_on {
                return Ok(());
            }
        }
    }
}

async fn tell(mailbox: &ShardSender, told: MasterTables) -> Result<(), SessionEnd> {
    mailbox.send(ToShard::MasterTables(Box::new(told))).await.map_err(|_| SessionEnd::Stopped)
}

/// The tables of a master that tells them whole each time, as they were last.
#[derive(Default)]
struct ToldWhole {
    topics: Bytes,
    groups: Bytes,
    modes: Bytes,
    offsets: Bytes,
    delay_offsets: Bytes,
    looks: u32,
}

impl ToldWhole {
    async fn look(&mut self, wire: &mut Wire, mailbox: &ShardSender) -> Result<(), SessionEnd> {
        if self.looks.is_multiple_of(OFFSETS_TOLD_EVERY) {
            self.offsets = Bytes::new();
        }
        self.looks = self.looks.wrapping_add(1);
        let mut told = Vec::new();
        if let Some(body) = changed(&mut self.topics, wire, RequestCode::GetAllTopicConfig).await? {
            told.extend(read(TopicTable::decode(&body)).into_iter().flat_map(letter::parts_of_topics));
        }
        if let Some(body) = changed(&mut self.offsets, wire, RequestCode::GetAllConsumerOffset).await? {
            told.extend(read(ConsumerOffsets::decode(&body)).into_iter().flat_map(letter::parts_of_offsets));
        }
        if let Some(body) = changed(&mut self.delay_offsets, wire, RequestCode::GetAllDelayOffset).await? {
            let parts = read(DelayOffsets::decode(&body)).into_iter().map(|table| MasterTables::Part {
                behind: TablePlace::Delays,
                until: None,
                part: TableChange::DelayOffsets(table),
            });
            told.extend(parts);
        }
        // Its file of modes is a part of the table of groups here.
        let modes = changed(&mut self.modes, wire, RequestCode::GetAllMessageRequestMode).await?;
        let groups = changed(&mut self.groups, wire, RequestCode::GetAllSubscriptiongroupConfig).await?;
        if modes.is_some() || groups.is_some() {
            let modes = read(decode_request_modes(&self.modes)).unwrap_or_default();
            let groups = read(GroupTable::decode(&self.groups)).map(|table| GroupTable { modes, ..table });
            told.extend(groups.into_iter().flat_map(letter::parts_of_groups));
        }
        for told in told {
            tell(mailbox, told).await?;
        }
        Ok(())
    }
}

/// A body that differs from the last one. A master that does not have the table says so, which is no reason to give up the others.
async fn changed(last: &mut Bytes, wire: &mut Wire, code: RequestCode) -> Result<Option<Bytes>, WireError> {
    let answer = match wire.ask(code, &[], &[], ANSWER).await {
        Ok(answer) => answer,
        Err(WireError::Refused { code: answered, remark }) => {
            debug!(?code, answered, remark, "the master does not give a table");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    if answer.body.is_empty() || answer.body == *last {
        return Ok(None);
    }
    *last = answer.body;
    Ok(Some(last.clone()))
}

fn read<T>(table: Result<T, BodyError>) -> Option<T> {
    table
        .inspect_err(
            |error| warn!(target: BY_STRANGERS, %error, "a table of the master cannot be read; what is known stays"),
        )
        .ok()
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
