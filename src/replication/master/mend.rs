//! A master asks its slaves for what is damaged in its log.

use std::collections::BTreeSet;

use super::super::mend::Askable;
use super::{Master, SlaveLink};
use crate::limits::HA_SLAVES_MAX;
use crate::log::Log;
use crate::model::{BrokerId, LinkId, MonoNs};

impl Master {
    /// The roles are given by somebody who knows of replicas that this master may never hear of.
    pub(crate) fn obey(&mut self) {
        self.has_other_holders = true;
    }

    /// This one has a part of this log, or had.
    pub(super) fn note_holder(&mut self, slave: BrokerId) {
        let is_full = self.holders.len() >= HA_SLAVES_MAX && !self.holders.contains(&slave);
        self.has_other_holders |= is_full;
        if !is_full {
            self.holders.insert(slave);
        }
    }

    /// Goes on with what is damaged in the log: takes what a slave has answered, and asks the next one.
    pub(crate) fn mend(&mut self, now: MonoNs, log: &mut Log) {
        let following = self.links.iter().filter(|(_, link)| link.is_following() && link.mend.is_able());
        let peers: Vec<Askable> =
            following.map(|(id, link)| Askable { link: *id, is_free: link.mend.is_free() }).collect();
        let (links, holders, has_others) = (&self.links, &self.holders, self.has_other_holders);
        let needed = self.slaves_needed().max(1);
        let is_lost = |lacking: &BTreeSet<LinkId>| {
            let lacking: BTreeSet<BrokerId> =
                lacking.iter().filter_map(|id| links.get(id).and_then(SlaveLink::broker_id)).collect();
            !has_others && lacking.len() >= needed && holders.is_subset(&lacking)
        };
        if let Some((id, ask)) = self.mender.go_on(now, &peers, log, is_lost)
            && let Some(link) = self.links.get_mut(&id)
        {
            link.mend.ask(ask);
        }
    }

    /// Whether a slave has answered, and that was not looked at: then [`Master::mend`].
    #[must_use]
    pub(crate) fn has_answer(&self) -> bool {
        self.mender.has_answer()
    }
}
