//! Telling the members of a group that it has changed (NOTIFY_CONSUMER_IDS_CHANGED 40): each rebalances at once.
//!
//! State of the shard. A change tells all members, so a crowd that joins one by one is told of itself as often as it has members. As many notices as
//! [`NOTICES_PER_TICK`] go out at once; beyond that groups take turns, some members each, and what changes while a group waits for its turn, or has it,
//! is told with the next. So every member hears of the last change, and not of each.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use super::{Broker, Output};
use crate::limits::{NOTICES_PER_TICK, NOTICES_PER_TURN};
use crate::model::{ConnectionId, GroupName};
use crate::protocol::code::RequestCode;
use crate::protocol::frame::Encoding;
use crate::protocol::reply::{ExtValue, encode_request};

/// Groups whose members are being told.
#[derive(Debug)]
pub(super) struct Notices {
    /// How many may go out before the next tick.
    left: usize,
    turns: VecDeque<GroupName>,
    told: BTreeMap<GroupName, Telling>,
}

/// How far a group is.
#[derive(Debug, Default)]
struct Telling {
    /// The last member that was told; `None`: none yet.
    behind: Option<ConnectionId>,
    /// It has changed since the first was told.
    has_changed: bool,
}

impl Default for Notices {
    fn default() -> Notices {
        Notices { left: NOTICES_PER_TICK, turns: VecDeque::new(), told: BTreeMap::new() }
    }
}

impl Broker {
    /// A group has changed. Broadcast groups share nothing, so nothing changes.
    pub(super) fn notify_group(&mut self, group: &GroupName, out: &mut Output) {
        let Some(online) = self.clients.consumer_group(group.as_str()) else { return };
        let is_wanted = self.groups.get(group.as_str()).is_none_or(|config| config.notify_consumer_ids_changed);
        if online.is_broadcast() || !is_wanted {
            return;
        }
        if let Some(telling) = self.notices.told.get_mut(group) {
            telling.has_changed |= telling.behind.is_some();
            return;
        }
        self.notices.told.insert(group.clone(), Telling::default());
        self.notices.turns.push_back(group.clone());
        self.tell_members(out);
    }

    /// A tick has passed: others may be told.
    pub(super) fn go_on_with_notices(&mut self, out: &mut Output) {
        self.notices.left = NOTICES_PER_TICK;
        self.tell_members(out);
    }

    fn tell_members(&mut self, out: &mut Output) {
        let code = RequestCode::NotifyConsumerIdsChanged.number();
        let Notices { left, turns, told } = &mut self.notices;
        while *left > 0
            && out.outbox.has_room_for_notices()
            && let Some(group) = turns.pop_front()
        {
            let Some(telling) = told.get_mut(&group) else { continue };
            let members = self.clients.consumer_group(group.as_str()).map(|online| &online.members);
            let from = telling.behind.map_or(Bound::Unbounded, Bound::Excluded);
            let mut rest = members.into_iter().flat_map(|members| members.range((from, Bound::Unbounded)));
            let ext = [("consumerGroup", ExtValue::Str(group.as_str()))];
            for (connection, _) in rest.by_ref().take(NOTICES_PER_TURN.min(*left)) {
                telling.behind = Some(*connection);
                *left -= 1;
                if !out.outbox.is_over(*connection) {
                    self.next_opaque = self.next_opaque.wrapping_add(1);
                    let buffer = out.outbox.buffer(*connection);
                    encode_request(Encoding::Json, code, self.next_opaque, true, &ext, &[], buffer);
                }
            }
            if rest.next().is_none() {
                if !telling.has_changed {
                    told.remove(&group);
                    continue;
                }
                *telling = Telling::default();
            }
            turns.push_back(group);
        }
    }
}
