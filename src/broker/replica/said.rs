//! What is said of replicas to people, and of a master that takes nothing to name servers: each trouble when it begins, and now and then.

use std::mem::Discriminant;
use std::net::IpAddr;

use super::super::life::Life;
use super::super::{Broker, Effect, Output, Table};
use super::{Part, Replica};
use crate::letter::ToControl;
use crate::limits::HA_SETTLED_MS;
use crate::model::{LinkId, MonoNs, Now};
use crate::replication::{HaRefused, Quiet, SlaveError};
use crate::said::BY_STRANGERS;

/// What was said already.
pub(super) struct Said {
    /// Of slaves, by brokerId or address, and of the master.
    slaves: Quiet<Discriminant<HaRefused>>,
    master: Quiet<Option<Discriminant<SlaveError>>>,
    /// Whether trouble with the master was said last, and not that it is followed again; and since when it is.
    pub(super) is_trouble_said: bool,
    pub(super) followed_since: Option<MonoNs>,
    /// That sends are refused.
    held_back: Quiet<()>,
    /// What the control plane was told of it.
    is_held_back_told: bool,
}

/// Whom trouble is with that is a master's own.
const OWN: u64 = 0;

/// What trouble a slave may have with its master: each is said apart.
pub(super) const LEFT: u64 = 0;
pub(super) const GONE: u64 = 1;
pub(super) const UNREACHABLE: u64 = 2;

impl Said {
    pub(super) fn new(life: &Life) -> Said {
        Said {
            slaves: Quiet::default(),
            master: Quiet::default(),
            is_trouble_said: true,
            followed_since: None,
            held_back: Quiet::default(),
            // Name servers take no other permission with a version that they know: a master that was made one says it, whatever it was before.
            is_held_back_told: life.role.is_master() && life.epoch.is_some(),
        }
    }

    /// Whether trouble with the master is to be said: it is another than the last one, or that was said a while ago.
    pub(super) fn is_trouble_due(&mut self, now: MonoNs, what: u64, kind: Option<Discriminant<SlaveError>>) -> bool {
        let is_due = self.master.is_due(now, what, kind);
        self.is_trouble_said |= is_due;
        is_due
    }

    /// A master that was followed for a while without trouble has none: the next is news.
    pub(super) fn settle(&mut self, now: MonoNs) {
        if self.followed_since.is_some_and(|since| now.ms_since(since) >= HA_SETTLED_MS) {
            self.master = Quiet::default();
        }
    }
}

impl Broker {
    /// Closes a link to a slave for what the slave did. A slave whose log does not fit comes again and again, and is named now and then.
    pub(super) fn refuse_link(&mut self, now: MonoNs, link: LinkId, why: &HaRefused, out: &mut Output) {
        if let Part::Master(master) = &self.replica.role
            && let Some(peer) = master.peer(link)
        {
            let whom = match why {
                HaRefused::Unfit(refusal) => refusal.broker.0,
                _ => key_of(peer.ip()),
            };
            if self.replica.said.slaves.is_due(now, whom, why.kind()) {
                tracing::warn!(target: BY_STRANGERS, %peer, "replication connection closed: {why}");
            }
        }
        out.effects.push(Effect::LinkClose(link));
    }

    /// A master that refuses all sends says so, and what ends it.
    pub(super) fn say_held_back(&mut self, now: MonoNs) {
        let held_back = self.holds_back();
        let Replica { role: Part::Master(master), said, epochs, .. } = &mut self.replica else { return };
        if held_back && epochs.table().is_copy() {
            if said.held_back.is_due(now, OWN, ()) {
                tracing::error!(
                    "sends are refused: this shard ended as a slave, by an order or amid a copy, and its file makes it a master: another replica may have more, and be the master. Give `ringmq-admin replica take-back` (again) if there is one, or set haMasterBehindSlave=GO_ON to go on with what is here"
                );
            }
            return;
        }
        let ahead: Vec<String> = master.ahead().iter().map(ToString::to_string).collect();
        // While slaves are only asked it is over in a moment.
        if !held_back || ahead.is_empty() {
            return said.held_back.forget(OWN);
        }
        if said.held_back.is_due(now, OWN, ()) {
            tracing::error!(
                broker_ids = ahead.join(","),
                "sends are refused: replicas have what this master has not (`ringmq-admin cluster list`). Take them back with `ringmq-admin replica take-back`, restore this master's store, give up what they have with `ringmq-admin replica give-up`, or set haMasterBehindSlave=GO_ON to go on without what they have. That they are away, or a start of this master, ends it not"
            );
        }
    }

    /// A master that waits for what others have is registered without write permission. While slaves are only asked it is over in a moment, and clients
    /// that heard of it would stay away for half a minute.
    pub(super) fn tell_held_back(&mut self, now: Now, out: &mut Output) {
        let Part::Master(master) = &self.replica.role else { return };
        let waits = self.replica.epochs.table().is_copy() || !master.ahead().is_empty();
        let holds_back = waits && self.holds_back();
        if std::mem::replace(&mut self.replica.said.is_held_back_told, holds_back) == holds_back {
            return;
        }
        self.topics.version = self.topics.version.next(now.unix);
        self.persistence.change(Table::Topics);
        self.write_changes(out);
        let (shard, version) = (self.settings.shard, self.topics.version);
        out.effects.push(Effect::Control(ToControl::HoldsBack { shard, holds_back, version }));
    }
}

/// An address as a peer of [`Quiet`], apart from all brokerIds that anybody gives.
fn key_of(address: IpAddr) -> u64 {
    let low = match address {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => u64::try_from(v6.to_bits() & u128::from(u64::MAX)).unwrap_or_default(),
    };
    low | 1 << 63
}
