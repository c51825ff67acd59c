//! A master asks its slaves for what is damaged in its log.

use std::collections::BTreeSet;

use super::super::epoch::Holders;
use super::super::mend::Askable;
use super::{Master, SlaveLink};
use crate::log::Log;
use crate::model::{BrokerId, LinkId, LogOffset, MonoNs};

impl Master {
    /// The roles are given by somebody else.
    pub(crate) fn obey(&mut self) {
        self.obeys = true;
    }

    /// Who had this log when its last life ended; with `haMasterBehindSlave=GO_ON` nobody is waited for who does not come.
    pub(crate) fn remember_holders(&mut self, holders: &Holders) {
        if !self.settings.goes_on_behind {
            self.holders.clone_from(holders);
        }
    }

    /// All who are known to have, or to have had, a part of this log.
    #[must_use]
    pub(crate) fn holders(&self) -> &Holders {
        &self.holders
    }

    /// Goes on with what is damaged in the log: takes what a slave has answered, and asks the next one.
    pub(crate) fn mend(&mut self, now: MonoNs, log: &mut Log) {
        let following = self.links.iter().filter(|(_, link)| link.is_following() && link.mend.is_able());
        let peers: Vec<Askable> =
            following.map(|(id, link)| Askable { link: *id, is_free: link.mend.is_free() }).collect();
        let (links, holders, obeys) = (&self.links, &self.holders, self.obeys);
        let needed = self.slaves_needed().max(1);
        let is_lost = |record: LogOffset, unsound: &BTreeSet<LinkId>| {
            // Whose log ends before has never had it.
            let lacks =
                |id: &LinkId, link: &SlaveLink| unsound.contains(id) || (link.is_following() && link.acked <= record);
            let lacking = links.iter().filter(|(id, link)| lacks(id, link));
            let lacking: BTreeSet<BrokerId> = lacking.filter_map(|(_, link)| link.broker_id()).collect();
            !obeys && lacking.len() >= needed && holders.are_among(&lacking)
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
