//! Messages that are handed out for a while: 200050, and what becomes of them: 200051, 200151, 200053.

use super::{BadRequest, HeaderFields};
use crate::header::Header;
use crate::message::GivenHandle;
use crate::model::{QueueId, QueueOffset, UnixMs};

/// Where a group begins that has not popped from a queue yet. Source: RocketMQ `ConsumeInitMode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PopFrom {
    /// With the first message that is there.
    First,
    /// With the last one, unless the queue is young.
    Last,
}

/// 200050: messages of a topic, as the consumer's own for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PopRequest<'a> {
    /// The consumer's group.
    pub group: &'a str,
    /// Of which messages are wanted.
    pub topic: &'a str,
    /// One queue, or all of them (a negative `queueId`).
    pub queue_id: Option<QueueId>,
    /// Most messages wanted.
    pub messages_max: u32,
    /// For how long they are the consumer's, ms.
    pub invisible_ms: i64,
    /// How long the broker may hold the request, ms, from `born` on.
    pub poll_ms: i64,
    /// When it was made by its client's clock; `None` if that is not said.
    pub born: Option<UnixMs>,
    /// Where a new group begins.
    pub from: PopFrom,
    /// Language of the expression; none is TAG.
    pub expression_type: Option<&'a str>,
    /// What is wanted; none is everything.
    pub expression: Option<&'a str>,
    /// Whether the messages of a queue are wanted in order.
    pub is_ordered: bool,
    /// Of a pop in order: by this name a client that has lost the answer asks for the same again.
    pub attempt: Option<&'a str>,
}

impl<'a> PopRequest<'a> {
    /// Reads 200050.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        let from = match fields.number::<i32>("initMode")? {
            0 => PopFrom::First,
            _ => PopFrom::Last,
        };
        Ok(PopRequest {
            group: fields.text("consumerGroup")?,
            topic: fields.text("topic")?,
            queue_id: fields.queue_id("queueId")?,
            messages_max: u32::try_from(fields.number::<i32>("maxMsgNums")?).unwrap_or(0),
            invisible_ms: fields.number("invisibleTime")?,
            poll_ms: fields.number("pollTime")?,
            born: fields.optional_number("bornTime").filter(|born| *born != 0).map(UnixMs),
            from,
            expression_type: fields.optional_text("expType"),
            expression: fields.optional_text("exp"),
            is_ordered: fields.boolean("order", false),
            attempt: fields.optional_text("attemptId"),
        })
    }

    /// Reads 200055: whose pops of what are counted.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub(crate) fn parse_look(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        Ok(PopRequest {
            group: fields.text("consumerGroup")?,
            topic: fields.text("topic")?,
            queue_id: fields.queue_id("queueId")?,
            messages_max: 1,
            invisible_ms: 0,
            poll_ms: 0,
            born: None,
            from: PopFrom::First,
            expression_type: None,
            expression: None,
            is_ordered: false,
            attempt: None,
        })
    }

    /// Reads 200052: as a pop of which nothing is taken.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub(crate) fn parse_peek(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let messages_max = u32::try_from(HeaderFields(header).number::<i32>("maxMsgNums")?).unwrap_or(0);
        Ok(PopRequest { messages_max, ..PopRequest::parse_look(header)? })
    }

    /// Reads 200054: as a pop that waits for word.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub(crate) fn parse_notification(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        let born = Some(UnixMs(fields.number("bornTime")?)).filter(|born| born.0 != 0);
        let (poll_ms, is_ordered) = (fields.number("pollTime")?, fields.boolean("order", false));
        let attempt = fields.optional_text("attemptId");
        Ok(PopRequest { poll_ms, born, is_ordered, attempt, ..PopRequest::parse_look(header)? })
    }
}

/// 200051: a message was consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckRequest<'a> {
    /// The consumer's group.
    pub group: &'a str,
    /// The topic in which the message lies: that which was popped, or a retry topic.
    pub topic: &'a str,
    /// Queue within the topic; none if negative.
    pub queue_id: Option<QueueId>,
    /// The message's offset in it; none if negative.
    pub offset: Option<QueueOffset>,
    /// As it was handed out; none if it is none.
    pub handle: Option<GivenHandle>,
}

impl<'a> AckRequest<'a> {
    /// Reads 200051.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        Ok(AckRequest {
            group: fields.text("consumerGroup")?,
            topic: fields.text("topic")?,
            queue_id: fields.queue_id("queueId")?,
            offset: u64::try_from(fields.number::<i64>("offset")?).ok().map(QueueOffset),
            handle: GivenHandle::parse(fields.text("extraInfo")?),
        })
    }
}

/// 200053: a message is to be its consumer's for another while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeInvisibleRequest<'a> {
    /// The one whose time is changed.
    pub message: AckRequest<'a>,
    /// For how long from now on, ms.
    pub invisible_ms: i64,
}

impl<'a> ChangeInvisibleRequest<'a> {
    /// Reads 200053.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let message = AckRequest::parse(header)?;
        Ok(ChangeInvisibleRequest { message, invisible_ms: HeaderFields(header).number("invisibleTime")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::header_of;

    #[test]
    fn a_pop_is_read() {
        let text = r#"{"code":200050,"extFields":{"consumerGroup":"G","topic":"T","queueId":"-1","maxMsgNums":"32","invisibleTime":"60000","pollTime":"15000","bornTime":"1700000000000","initMode":"1","expType":"TAG","exp":"A || B","order":"false"}}"#;
        let expected = PopRequest {
            group: "G",
            topic: "T",
            queue_id: None,
            messages_max: 32,
            invisible_ms: 60_000,
            poll_ms: 15_000,
            born: Some(UnixMs(1_700_000_000_000)),
            from: PopFrom::Last,
            expression_type: Some("TAG"),
            expression: Some("A || B"),
            is_ordered: false,
            attempt: None,
        };
        assert_eq!(PopRequest::parse(&header_of(text)), Ok(expected));
        let text = r#"{"extFields":{"consumerGroup":"G","topic":"T","queueId":"3","maxMsgNums":"-1","invisibleTime":"1","pollTime":"0","bornTime":"0","initMode":"0","order":"true"}}"#;
        let header = header_of(text);
        let pop = PopRequest::parse(&header).expect("a pop");
        assert_eq!((pop.queue_id, pop.messages_max, pop.born, pop.from), (Some(QueueId(3)), 0, None, PopFrom::First));
        assert!(pop.is_ordered && pop.expression.is_none());
    }

    #[test]
    fn what_is_said_of_a_popped_message_is_read() {
        let text = r#"{"extFields":{"consumerGroup":"G","topic":"T","queueId":"1","offset":"7","extraInfo":"5 9 60000 0 0 b 1 7","invisibleTime":"1000"}}"#;
        let header = header_of(text);
        let message = AckRequest {
            group: "G",
            topic: "T",
            queue_id: Some(QueueId(1)),
            offset: Some(QueueOffset(7)),
            handle: Some(GivenHandle { start: QueueOffset(5), popped: UnixMs(9), revive_queue: 0 }),
        };
        assert_eq!(AckRequest::parse(&header), Ok(message));
        let expected = ChangeInvisibleRequest { message, invisible_ms: 1_000 };
        assert_eq!(ChangeInvisibleRequest::parse(&header), Ok(expected));
        let text = r#"{"extFields":{"consumerGroup":"G","topic":"T","queueId":"-1","offset":"-1","extraInfo":"x"}}"#;
        let header = header_of(text);
        let bad = AckRequest::parse(&header).expect("a request all the same");
        assert_eq!((bad.queue_id, bad.offset, bad.handle), (None, None, None));
        let missing = ChangeInvisibleRequest::parse(&header);
        assert_eq!(missing, Err(BadRequest::Missing { field: "invisibleTime" }));
    }
}
