//! Settings of consumer groups: whether they may consume, how often a message is tried.
//!
//! State of the shard, durable: every change is written at once. A group that nobody created gets RocketMQ's defaults when it
//! is first seen, if the broker allows that.

use std::collections::BTreeMap;

use super::persist::Table;
use super::snapshot::names_between;
use super::unwritten::Unwritten;
use super::{Broker, Output, Refusal};
use crate::limits::{CONFIG_BYTES_MAX, FORBIDDEN_MAX, GROUP_MODES_MAX, GROUPS_MAX};
use crate::model::{GroupName, Now, TopicName};
use crate::protocol::body::{DataVersion, GroupMode, GroupTable, SubscriptionGroupConfig, TableChange};
use crate::protocol::code::ResponseCode;
use crate::protocol::message::{REVIVE_GROUP, TRANSACTION_GROUP, check_group};

/// Groups that a RocketMQ broker has from the start; the last four may consume in broadcast. Source: `SubscriptionGroupManager`.
const INITIAL_GROUPS: [&str; 8] = [
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_RMQ_SYS_TRANS",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
];

/// Reading, in a mask of what a group may not do with a topic. Source: RocketMQ `PermName.INDEX_PERM_READ`.
const READING: i64 = 1 << 2;

/// The consumer groups' settings on a shard.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    table: GroupTable,
    /// Those that are new, other or gone.
    pub(super) changed: Unwritten<GroupName>,
}

impl Groups {
    /// Takes over what the store's file holds.
    pub(super) fn load(&mut self, table: GroupTable) {
        self.table = table;
    }

    /// Takes over groups of the master, and what it has removed. Whether that changed anything.
    pub(super) fn take(&mut self, mut told: GroupTable, removed: &[GroupName]) -> bool {
        let mut is_other = self.table.version != told.version;
        self.table.version = told.version;
        for name in removed {
            if self.table.remove_group(name) {
                self.changed.insert(name.clone());
                is_other = true;
            }
        }
        let names: Vec<GroupName> = told.groups.keys().cloned().collect();
        for name in names {
            if self.table.only(&name) != told.only(&name) {
                self.table.take_group(&name, &mut told);
                self.changed.insert(name);
                is_other = true;
            }
        }
        is_other
    }

    /// The names of groups behind one up to another.
    pub(super) fn between(
        &self,
        behind: Option<&GroupName>,
        until: Option<&GroupName>,
    ) -> impl Iterator<Item = &GroupName> {
        self.table.groups.range::<GroupName, _>(names_between(behind, until)).map(|(name, _)| name)
    }

    /// Adds RocketMQ's own groups. True if one was missing.
    pub(super) fn add_initial(&mut self) -> bool {
        let before = self.table.groups.len();
        for name in INITIAL_GROUPS {
            let name = GroupName::from(name);
            if !self.table.groups.contains_key(&name) {
                self.table.groups.insert(name.clone(), SubscriptionGroupConfig::new(name.as_str()));
                self.changed.insert(name);
            }
        }
        self.table.groups.len() > before
    }

    /// What has changed and is to be written.
    pub(super) fn take_changes(&mut self) -> TableChange {
        let mut table = GroupTable { version: self.table.version, ..GroupTable::default() };
        let mut removed = Vec::new();
        for name in self.changed.take(usize::MAX) {
            if self.table.groups.contains_key(&name) {
                table.take_group(&name, &mut self.table.only(&name));
            } else {
                removed.push(name);
            }
        }
        TableChange::Groups(table, removed)
    }

    /// The table without its groups.
    pub(super) fn frame(&self) -> GroupTable {
        let GroupTable { version, forbidden, modes, .. } = &self.table;
        let (forbidden, modes) = (forbidden.clone(), modes.clone());
        GroupTable { version: *version, forbidden, modes, ..GroupTable::default() }
    }

    /// Some groups behind that of this name, and the last one's name if there may be more.
    pub(super) fn part(&self, behind: Option<&GroupName>, most: usize) -> (GroupTable, Option<GroupName>) {
        let mut part = GroupTable { version: self.table.version, ..GroupTable::default() };
        for name in self.between(behind, None).take(most) {
            part.take_group(name, &mut self.table.only(name));
        }
        let last = part.groups.last_key_value().map(|(name, _)| name.clone());
        (part, last.filter(|last| self.between(Some(last), None).next().is_some()))
    }

    /// A group's settings.
    #[must_use]
    pub(crate) fn get(&self, group: &str) -> Option<&SubscriptionGroupConfig> {
        self.table.groups.get(group)
    }

    /// The table as the file holds it.
    #[must_use]
    pub(crate) fn table(&self) -> &GroupTable {
        &self.table
    }

    /// All groups by name.
    #[must_use]
    pub(crate) fn all(&self) -> &BTreeMap<GroupName, SubscriptionGroupConfig> {
        &self.table.groups
    }

    /// The table's version.
    #[must_use]
    pub(crate) fn version(&self) -> DataVersion {
        self.table.version
    }

    /// Whether all of these may be put: all or none are.
    pub(super) fn check_room(&self, configs: &[SubscriptionGroupConfig]) -> Result<(), Refusal> {
        if let Some(long) = configs.iter().find(|config| config.encode().len() > CONFIG_BYTES_MAX) {
            let remark = format!("the settings of group {} have more than {CONFIG_BYTES_MAX} bytes", long.name);
            return Err(Refusal::new(ResponseCode::InvalidParameter, remark));
        }
        let groups = &self.table.groups;
        let new = configs.iter().filter(|config| !groups.contains_key(&config.name)).count();
        if new > 0 && groups.len().saturating_add(new) > GROUPS_MAX {
            return Err(Refusal::new(
                ResponseCode::SystemError,
                format!("this broker has {} groups, and may have {GROUPS_MAX}: no more", groups.len()),
            ));
        }
        Ok(())
    }

    /// Creates a group or changes its settings.
    pub(super) fn put(&mut self, now: Now, config: SubscriptionGroupConfig) -> Result<(), Refusal> {
        self.check_room(std::slice::from_ref(&config))?;
        self.put_checked(now, config);
        Ok(())
    }

    /// The same with what [`Groups::check_room`] has allowed.
    pub(super) fn put_checked(&mut self, now: Now, config: SubscriptionGroupConfig) {
        self.changed.insert(config.name.clone());
        self.table.groups.insert(config.name.clone(), config);
        self.table.version = self.table.version.next(now.unix);
    }

    /// Whether the group may not read the topic, though it may consume.
    #[must_use]
    pub(crate) fn is_forbidden(&self, group: &str, topic: &str) -> bool {
        let topics = self.table.forbidden.get(group);
        topics.and_then(|topics| topics.get(topic)).is_some_and(|mask| *mask > 0 && mask & READING != 0)
    }

    /// Whether a group that is there may read the topic from now on. Whether that is new.
    pub(super) fn set_forbidden(
        &mut self,
        now: Now,
        group: &GroupName,
        topic: &str,
        forbids: bool,
    ) -> Result<bool, Refusal> {
        if self.is_forbidden(group.as_str(), topic) == forbids {
            return Ok(false);
        }
        let forbidden = &mut self.table.forbidden;
        if forbids {
            if forbidden.values().map(BTreeMap::len).sum::<usize>() >= FORBIDDEN_MAX {
                let remark = format!("groups are forbidden to read {FORBIDDEN_MAX} topics: no more");
                return Err(Refusal::new(ResponseCode::SystemError, remark));
            }
            *forbidden.entry(group.clone()).or_default().entry(topic.to_owned()).or_default() |= READING;
        } else if let Some(topics) = forbidden.get_mut(group) {
            topics.entry(topic.to_owned()).and_modify(|mask| *mask &= !READING);
            topics.retain(|_, mask| *mask > 0);
            if topics.is_empty() {
                forbidden.remove(group);
            }
        }
        self.changed.insert(group.clone());
        self.table.version = self.table.version.next(now.unix);
        Ok(true)
    }

    /// How the group gets the messages of a topic, if that was said.
    #[must_use]
    pub(super) fn mode(&self, group: &str, topic: &str) -> Option<GroupMode> {
        self.table.modes.get(group)?.get(topic).copied()
    }

    /// How a group that is there gets the messages of a topic from now on.
    pub(super) fn set_mode(
        &mut self,
        now: Now,
        group: &GroupName,
        topic: &TopicName,
        mode: GroupMode,
    ) -> Result<(), Refusal> {
        let modes = &mut self.table.modes;
        let is_new = !modes.get(group).is_some_and(|topics| topics.contains_key(topic));
        if is_new && modes.values().map(BTreeMap::len).sum::<usize>() >= GROUP_MODES_MAX {
            let remark = format!("it was said of {GROUP_MODES_MAX} groups and topics how messages are got: no more");
            return Err(Refusal::new(ResponseCode::SystemError, remark));
        }
        modes.entry(group.clone()).or_default().insert(topic.clone(), mode);
        self.changed.insert(group.clone());
        self.table.version = self.table.version.next(now.unix);
        Ok(())
    }

    /// Forgets a group. False if it is unknown.
    pub(super) fn remove(&mut self, now: Now, group: &str) -> bool {
        let name = GroupName::from(group);
        let was_known = self.table.groups.contains_key(&name);
        if self.table.remove_group(&name) {
            self.changed.insert(name);
            self.table.version = self.table.version.next(now.unix);
        }
        was_known
    }
}

/// Whether a group's offsets are for clients to move. Those of the broker's own say where it goes on itself: with transactions, and with what was popped.
///
/// # Errors
/// [`Refusal`].
pub(super) fn check_is_clients(group: &str) -> Result<(), Refusal> {
    if [TRANSACTION_GROUP, REVIVE_GROUP].contains(&group) {
        let remark = format!("the offsets of {group} are the broker's own");
        return Err(Refusal::new(ResponseCode::NoPermission, remark));
    }
    Ok(())
}

impl Broker {
    /// A group's settings; the group is created if that is allowed.
    pub(super) fn group_config(
        &mut self,
        now: Now,
        group: &str,
        out: &mut Output,
    ) -> Result<&SubscriptionGroupConfig, Refusal> {
        let missing = || {
            Refusal::new(
                ResponseCode::SubscriptionGroupNotExist,
                format!("subscription group [{group}] does not exist"),
            )
        };
        if self.groups.get(group).is_none() {
            if !self.settings.auto_create_group || check_group(group).is_err() {
                return Err(missing());
            }
            self.groups.put(now, SubscriptionGroupConfig::new(group))?;
            self.persistence.change(Table::Groups);
            self.write_changes(out);
        }
        self.groups.get(group).ok_or_else(missing)
    }
}
