//! Which templates of sends' headers a shard keeps.
//!
//! All connections share them: what a template reads depends on nothing but the header's bytes. The length of a header says in which set its template
//! is, if there is one. In a full set one of every [`MISSES_PER_TEMPLATE`] headers that were read in full takes the place of a template that has not
//! been of use lately, so that headers which are all unlike cost little more than reading them.

use crate::limits::{SEND_TEMPLATE_SETS, SEND_TEMPLATE_WAYS};
use crate::protocol::frame::RawFrame;
use crate::protocol::header::Header;
use crate::protocol::request::{SendRequest, SendTemplate, TemplateSend};

/// Headers that were read in full, of those that belong to a full set, for one that is learned.
const MISSES_PER_TEMPLATE: u32 = 16;

/// The templates of a shard. Without any until the first is learned.
#[derive(Debug, Default)]
pub(super) struct Templates {
    sets: Vec<Set>,
}

#[derive(Clone, Debug, Default)]
struct Set {
    ways: Vec<Kept>,
    misses: u32,
    /// The way that is looked at next when one is to go.
    hand: usize,
}

#[derive(Clone, Debug)]
struct Kept {
    template: SendTemplate,
    /// It has read a header since it was looked at last.
    is_used: bool,
}

impl Templates {
    /// What a frame asks, if it is a send whose header is like one that is known.
    #[inline]
    pub(super) fn read<'a>(&'a mut self, frame: &RawFrame<'a>) -> Option<TemplateSend<'a>> {
        let set = self.sets.get_mut(set_of(frame))?;
        set.ways.iter_mut().find_map(|way| {
            let send = way.template.read(frame)?;
            way.is_used = true;
            Some(send)
        })
    }

    /// Learns from a header that was read in full.
    pub(super) fn learn(&mut self, frame: &RawFrame<'_>, header: &Header<'_>, request: &SendRequest<'_>) {
        if self.sets.is_empty() {
            self.sets = vec![Set::default(); SEND_TEMPLATE_SETS];
        }
        let Some(set) = self.sets.get_mut(set_of(frame)) else { return };
        if set.ways.len() == SEND_TEMPLATE_WAYS {
            set.misses = set.misses.wrapping_add(1);
            if !set.misses.is_multiple_of(MISSES_PER_TEMPLATE) {
                return;
            }
        }
        if let Some(template) = SendTemplate::of(frame, header, request) {
            set.keep(Kept { template, is_used: false });
        }
    }
}

impl Set {
    /// Takes a template in, for the next that was of no use since the last time round.
    fn keep(&mut self, way: Kept) {
        if self.ways.len() < SEND_TEMPLATE_WAYS {
            self.ways.push(way);
            return;
        }
        while let Some(old) = self.ways.get_mut(self.hand) {
            self.hand = (self.hand + 1) % SEND_TEMPLATE_WAYS;
            if !std::mem::take(&mut old.is_used) {
                *old = way;
                return;
            }
        }
    }
}

fn set_of(frame: &RawFrame<'_>) -> usize {
    frame.header.len() % SEND_TEMPLATE_SETS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::frame::Encoding;
    use crate::protocol::request::Request;

    fn frame(header: &str) -> RawFrame<'_> {
        RawFrame { encoding: Encoding::Json, header: header.as_bytes(), body: b"body", size: 0 }
    }

    fn header(topic: &str, opaque: u32) -> String {
        format!(r#"{{"code":310,"extFields":{{"a":"P","b":"{topic}","e":"0","g":"17"}},"opaque":{opaque}}}"#)
    }

    fn learn(templates: &mut Templates, text: &str) {
        let frame = frame(text);
        let header = Header::decode(frame.encoding, frame.header).expect("a header");
        templates.learn(&frame, &header, &SendRequest::parse(&header, frame.body).expect("a send"));
    }

    fn topic_of(templates: &mut Templates, text: &str) -> Option<String> {
        match templates.read(&frame(text))?.request {
            Request::Send(send) => Some(send.topic.to_owned()),
            _ => None,
        }
    }

    #[test]
    fn what_is_in_use_stays_and_what_is_not_makes_room() {
        let mut templates = Templates::default();
        assert_eq!(topic_of(&mut templates, &header("T0", 1)), None);
        for topic in ["T0", "T1", "T2", "T3"] {
            learn(&mut templates, &header(topic, 1));
        }
        for topic in ["T0", "T1", "T2", "T3"] {
            assert_eq!(topic_of(&mut templates, &header(topic, 2)).as_deref(), Some(topic));
        }
        for times in 1..=5 * MISSES_PER_TEMPLATE {
            learn(&mut templates, &header("T4", 3));
            let is_known = topic_of(&mut templates, &header("T4", 4)).is_some();
            assert_eq!(is_known, times >= MISSES_PER_TEMPLATE, "{times}");
            assert_eq!(topic_of(&mut templates, &header("T1", 5)).as_deref(), Some("T1"), "{times}");
        }
        let kept = templates.sets.iter().map(|set| set.ways.len()).max();
        assert_eq!(kept, Some(SEND_TEMPLATE_WAYS));
    }
}
