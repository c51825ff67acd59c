//! A master that has less than its slave gets it back: the two change roles until the master has all of it, and then change back.
//!
//! ```text
//! master  refuses sends ─▶ slave, copies ─────────────────▶ has all ──────────────▶ master
//! slave   has more ──────▶ master, takes messages ────────▶ slave: its log ends ──▶ follows
//! ```
//!
//! Each step goes by what the two say they are, so the command may be broken off and given again at any point.

#![expect(clippy::disallowed_methods, reason = "a tool, which waits for brokers")]

use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use ringmq_protocol::code::RequestCode;
use ringmq_protocol::reply::ExtValue;
use ringmq_protocol::request::{
    ROLE, ROLE_BROKER_ID, ROLE_END, ROLE_EPOCH, ROLE_FOLLOWS, ROLE_HOLDS_BACK, ROLE_LOG, ROLE_NAME, ROLE_START,
};

use crate::consent::{Consent, Plan};
use crate::output::Output;
use crate::wire::{AdminError, Cluster};

/// From one look at the two to the next.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// A change of roles takes as long as what is in memory takes to be written.
const ROLE_WITHIN: Duration = Duration::from_secs(60);
/// A copy that does not grow for so long has come to a stop.
const GROWS_WITHIN: Duration = Duration::from_secs(60);
/// The last bytes are copied when nobody adds more.
const LAST_WITHIN: Duration = Duration::from_secs(5);
/// A copy that lacks less may take its role back.
const LACKS_BYTES_MAX: u64 = 1024 * 1024;

/// Which master, and whether it is only looked at.
#[derive(Args)]
pub(crate) struct TakeBackArguments {
    /// The master's HOST:PORT, as `cluster list` shows it.
    #[arg(short = 'b', long, value_name = "HOST:PORT")]
    broker: String,
    /// The slave's HOST:PORT that has more.
    #[arg(long, value_name = "HOST:PORT")]
    from: String,
    #[command(flatten)]
    consent: Consent,
}

/// What a shard says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Standing {
    name: String,
    role: String,
    broker_id: i64,
    epoch: i64,
    log: String,
    start: u64,
    end: u64,
    holds_back: bool,
    follows: bool,
}

impl Standing {
    fn is_master(&self) -> bool {
        self.role != "SLAVE"
    }

    fn text(&self) -> String {
        let waits = if self.holds_back { ", refuses sends" } else { "" };
        format!("{}, log {}, {} to {}{waits}", self.role, self.log, self.start, self.end)
    }
}

/// The two, by address.
struct Two<'a> {
    cluster: &'a mut Cluster,
    output: Output,
    master: &'a str,
    slave: &'a str,
}

/// See the module.
pub(crate) fn take_back(
    cluster: &mut Cluster,
    output: Output,
    arguments: &TakeBackArguments,
) -> Result<(), AdminError> {
    let TakeBackArguments { broker: master, from: slave, consent } = arguments;
    let role = role_of(cluster, master)?;
    let mut two = Two { cluster, output, master, slave };
    let (own, other) = (two.look(master)?, two.look(slave)?);
    two.check(&own, &other)?;
    let mut plan = Plan::default();
    plan.lines.push(format!("{master} is {}", own.text()));
    plan.lines.push(format!("{slave} is {}", other.text()));
    plan.lines.push(format!(
        "{slave} becomes {role} and takes messages, {master} copies its log, which goes to {}, as its slave, and then both change back",
        other.end
    ));
    plan.facts.insert("broker".to_owned(), master.as_str().into());
    plan.facts.insert("from".to_owned(), slave.as_str().into());
    plan.facts.insert("role".to_owned(), role.as_str().into());
    plan.facts.insert("log_end".to_owned(), other.end.into());
    if !consent.is_given(output, &plan)? {
        return Ok(());
    }
    let copy_id = two.free_id(&own, &other)?;
    two.swap(&role, copy_id, &own, &other)?;
    two.copy()?;
    two.swap_back(&role)?;
    output.done(&format!("{master} has the log of {slave} and is its master again"), &plan.facts);
    Ok(())
}

/// `brokerRole` of a node's configuration, which is a master's whatever it is now.
fn role_of(cluster: &mut Cluster, address: &str) -> Result<String, AdminError> {
    let answer = cluster.must(address, "its configuration", RequestCode::GetBrokerConfig, &[], &[])?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let role = text.lines().find_map(|line| line.strip_prefix("brokerRole=")).unwrap_or_default();
    if role == "SYNC_MASTER" || role == "ASYNC_MASTER" {
        return Ok(role.to_owned());
    }
    Err(AdminError::Usage(format!(
        "{address} is configured as {role:?} and no master: name the one that is to get its log back"
    )))
}

impl Two<'_> {
    fn look(&mut self, address: &str) -> Result<Standing, AdminError> {
        let answer = self.cluster.must(address, "what it is", RequestCode::OrderRole, &[], &[])?;
        let text = |name: &str| answer.field(name).unwrap_or_default().to_owned();
        let number = |name: &str| text(name).parse::<i64>().unwrap_or_default();
        let offset = |name: &str| u64::try_from(number(name)).unwrap_or_default();
        Ok(Standing {
            name: text(ROLE_NAME),
            role: text(ROLE),
            broker_id: number(ROLE_BROKER_ID),
            epoch: number(ROLE_EPOCH),
            log: text(ROLE_LOG),
            start: offset(ROLE_START),
            end: offset(ROLE_END),
            holds_back: text(ROLE_HOLDS_BACK) == "true",
            follows: text(ROLE_FOLLOWS) == "true",
        })
    }

    /// Only what is plainly the case in hand is done: a slave that has something, and a master that has stored nothing since it has lost it.
    fn check(&self, own: &Standing, other: &Standing) -> Result<(), AdminError> {
        let refuse = |why: String| Err(AdminError::Usage(why));
        if own.name != other.name {
            return refuse(format!(
                "{} is of {} and {} of {}: they are no replicas of one another",
                self.master, own.name, self.slave, other.name
            ));
        }
        // By whichever address it is asked.
        if own == other {
            return refuse(format!(
                "{} and {} are one broker: --from is a slave that has more",
                self.master, self.slave
            ));
        }
        if other.start == other.end {
            return refuse(format!("{} has nothing that could be taken back", self.slave));
        }
        if own.is_master() && !own.holds_back {
            return refuse(format!(
                "{} is a master that takes messages: there is nothing that it waits for; if its slave is to have its log instead, see `replica give-up`",
                self.master
            ));
        }
        if own.start != own.end && own.log != other.log {
            return refuse(format!(
                "{} has a log of its own, {}, that would be lost: move its store away, start it with an empty one, and try again",
                self.master, own.log
            ));
        }
        Ok(())
    }

    /// A number that no replica of this name has.
    fn free_id(&mut self, own: &Standing, other: &Standing) -> Result<i64, AdminError> {
        if !own.is_master() {
            return Ok(own.broker_id);
        }
        let info = self.cluster.info()?;
        let broker = info.brokers.iter().find(|(name, _)| name.to_string() == own.name).map(|(_, broker)| broker);
        let taken = |id: u64| broker.is_some_and(|broker| broker.addresses.keys().any(|known| known.0 == id));
        let free = (1..).find(|id| !taken(*id) && i64::try_from(*id) != Ok(other.broker_id)).unwrap_or(1);
        Ok(i64::try_from(free).unwrap_or(1))
    }

    fn order(&mut self, address: &str, role: &str, broker_id: i64, epoch: i64) -> Result<(), AdminError> {
        self.output.note(&format!("{address} becomes {role} in epoch {epoch}"));
        let ext = [
            (ROLE, ExtValue::Str(role)),
            (ROLE_BROKER_ID, ExtValue::I64(broker_id)),
            (ROLE_EPOCH, ExtValue::I64(epoch)),
        ];
        self.cluster.must(address, "another role", RequestCode::OrderRole, &ext, &[])?;
        // Its connections are closed while its role changes.
        self.wait(ROLE_WITHIN, &format!("{address} has not become {role}"), |two| {
            Ok(two.look(address).is_ok_and(|standing| standing.role == role))
        })
    }

    fn wait(
        &mut self,
        within: Duration,
        what: &str,
        mut is_so: impl FnMut(&mut Self) -> Result<bool, AdminError>,
    ) -> Result<(), AdminError> {
        let begun = Instant::now();
        while begun.elapsed() < within {
            if is_so(self)? {
                return Ok(());
            }
            thread::sleep(LOOK_EVERY);
        }
        Err(AdminError::Usage(format!(
            "{what} within {} s; look at `cluster list`, then give the command again",
            within.as_secs()
        )))
    }

    /// The slave becomes the master, and the master its slave.
    fn swap(&mut self, role: &str, copy_id: i64, own: &Standing, other: &Standing) -> Result<(), AdminError> {
        let epoch = own.epoch.max(other.epoch).saturating_add(1);
        if own.is_master() {
            self.order(self.master, "SLAVE", copy_id, epoch)?;
        }
        if !other.is_master() {
            self.order(self.slave, role, other.broker_id, epoch)?;
        }
        Ok(())
    }

    /// Waits until the copy is as good as whole.
    fn copy(&mut self) -> Result<(), AdminError> {
        let (mut last, mut grown) = (0, Instant::now());
        loop {
            let (own, other) = (self.look(self.master)?, self.look(self.slave)?);
            if own.follows && own.log == other.log && other.end.saturating_sub(own.end) <= LACKS_BYTES_MAX {
                return Ok(());
            }
            if own.end > last {
                (last, grown) = (own.end, Instant::now());
            }
            if grown.elapsed() >= GROWS_WITHIN {
                return Err(AdminError::Usage(format!(
                    "{} has {} of {} bytes and gets no more; {} takes the messages meanwhile; look at `cluster list`, then give the command again",
                    self.master, own.end, other.end, self.slave
                )));
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// The one that has everything becomes the master again, when the other one takes nothing more.
    fn swap_back(&mut self, role: &str) -> Result<(), AdminError> {
        let (own, other) = (self.look(self.master)?, self.look(self.slave)?);
        let epoch = own.epoch.max(other.epoch).saturating_add(1);
        if other.is_master() {
            self.order(self.slave, "SLAVE", other.broker_id, epoch)?;
        }
        let (mut has, mut all) = (0, u64::MAX);
        let waited = self.wait(LAST_WITHIN, "the last bytes were not copied", |two| {
            (has, all) = (two.look(two.master)?.end, two.look(two.slave)?.end);
            Ok(has >= all)
        });
        if let Err(error) = waited {
            // Whoever has more goes on as the master.
            self.order(self.slave, role, other.broker_id, epoch.saturating_add(1))?;
            return Err(error);
        }
        self.order(self.master, role, 0, epoch)?;
        self.wait(ROLE_WITHIN, "the slave does not follow again", |two| Ok(two.look(two.slave)?.follows))
    }
}
