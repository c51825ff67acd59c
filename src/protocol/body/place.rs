//! A place in the tables of a broker, which are told and written in parts: topics, then groups, then consumer offsets, then delay offsets.

use std::fmt;

use crate::model::{GroupName, TopicName};

/// What lies behind it is what comes next. `None`: the beginning of a table.
///
/// As text: `topics`, `topics NAME`, `groups NAME`, `offsets TOPIC@GROUP`, `delays`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TablePlace {
    /// Of topics, by name.
    Topics(Option<TopicName>),
    /// Of groups, by name.
    Groups(Option<GroupName>),
    /// Of consumer offsets, by group and then topic.
    Offsets(Option<(GroupName, TopicName)>),
    /// Before the delay offsets, which are one part.
    Delays,
}

impl TablePlace {
    /// The beginning of the first table.
    pub const FIRST: TablePlace = TablePlace::Topics(None);

    /// The beginning of the table behind this one.
    #[must_use]
    pub fn next_table(&self) -> Option<TablePlace> {
        match self {
            TablePlace::Topics(_) => Some(TablePlace::Groups(None)),
            TablePlace::Groups(_) => Some(TablePlace::Offsets(None)),
            TablePlace::Offsets(_) => Some(TablePlace::Delays),
            TablePlace::Delays => None,
        }
    }

    /// Whether another place is in the same table.
    #[must_use]
    pub fn is_in_table_of(&self, other: &TablePlace) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// Reads the text.
    #[must_use]
    pub fn parse(text: &str) -> Option<TablePlace> {
        let (table, name) = text.split_once(' ').map_or((text, None), |(table, name)| (table, Some(name)));
        match (table, name) {
            ("topics", name) => Some(TablePlace::Topics(name.map(TopicName::from))),
            ("groups", name) => Some(TablePlace::Groups(name.map(GroupName::from))),
            ("offsets", None) => Some(TablePlace::Offsets(None)),
            ("offsets", Some(name)) => {
                let (topic, group) = name.split_once('@')?;
                Some(TablePlace::Offsets(Some((GroupName::from(group), TopicName::from(topic)))))
            }
            ("delays", None) => Some(TablePlace::Delays),
            _ => None,
        }
    }
}

impl fmt::Display for TablePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TablePlace::Topics(None) => f.write_str("topics"),
            TablePlace::Topics(Some(name)) => write!(f, "topics {name}"),
            TablePlace::Groups(None) => f.write_str("groups"),
            TablePlace::Groups(Some(name)) => write!(f, "groups {name}"),
            TablePlace::Offsets(None) => f.write_str("offsets"),
            TablePlace::Offsets(Some((group, topic))) => write!(f, "offsets {topic}@{group}"),
            TablePlace::Delays => f.write_str("delays"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_its_text() {
        let pair = (GroupName::from("g"), TopicName::from("%RETRY%g"));
        let places = [
            TablePlace::FIRST,
            TablePlace::Topics(Some("T".into())),
            TablePlace::Groups(None),
            TablePlace::Groups(Some("g".into())),
            TablePlace::Offsets(None),
            TablePlace::Offsets(Some(pair)),
            TablePlace::Delays,
        ];
        for place in places {
            assert_eq!(TablePlace::parse(&place.to_string()), Some(place));
        }
        for text in ["", "topic", "offsets T", "delays 1"] {
            assert_eq!(TablePlace::parse(text), None, "{text}");
        }
    }
}
