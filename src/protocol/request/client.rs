//! Clients: who leaves, and who is there.

use super::{BadRequest, HeaderFields};
use crate::header::Header;

/// 35: a client leaves its groups.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct UnregisterClientRequest<'a> {
    pub client_id: &'a str,
    /// The group that it no longer produces for.
    pub producer_group: Option<&'a str>,
    /// The group that it no longer consumes in.
    pub consumer_group: Option<&'a str>,
}

impl<'a> UnregisterClientRequest<'a> {
    /// Reads 35.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        Ok(UnregisterClientRequest {
            client_id: fields.text("clientID")?,
            producer_group: fields.optional_text("producerGroup"),
            consumer_group: fields.optional_text("consumerGroup"),
        })
    }
}

/// 38: the members of a consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerListRequest<'a> {
    /// `consumerGroup`.
    pub group: &'a str,
}

impl<'a> ConsumerListRequest<'a> {
    /// Reads 38.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        Ok(ConsumerListRequest { group: HeaderFields(header).text("consumerGroup")? })
    }
}

/// 203 and 204: the connections of a consumer or producer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionsRequest<'a> {
    /// The group: of consumers in 203, of producers in 204.
    pub group: &'a str,
}

impl<'a> ConnectionsRequest<'a> {
    /// Reads 203.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub(crate) fn parse_consumer(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        Ok(ConnectionsRequest { group: HeaderFields(header).text("consumerGroup")? })
    }

    /// Reads 204.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub(crate) fn parse_producer(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        Ok(ConnectionsRequest { group: HeaderFields(header).text("producerGroup")? })
    }
}

/// 307: what one client says of itself. The broker asks it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct RunningInfoRequest<'a> {
    /// The client's group (`consumerGroup`).
    pub group: &'a str,
    pub client_id: &'a str,
    /// Whether it is to tell the stacks of its threads, as it was asked: passed on.
    pub jstack: Option<&'a str>,
}

impl<'a> RunningInfoRequest<'a> {
    /// Reads 307.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        Ok(RunningInfoRequest {
            group: fields.text("consumerGroup")?,
            client_id: fields.text("clientId")?,
            jstack: fields.optional_text("jstackEnable"),
        })
    }
}

/// 309: one client is to consume one message now. The broker sends it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumeDirectlyRequest<'a> {
    /// The client's group (`consumerGroup`).
    pub group: &'a str,
    /// The client. RocketMQ's header lets it out, but nobody is asked without it.
    pub client_id: &'a str,
    /// The message's offset id.
    pub message_id: &'a str,
    /// The message's topic, said by 5.x tools.
    pub topic: Option<&'a str>,
}

impl<'a> ConsumeDirectlyRequest<'a> {
    /// Reads 309.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        Ok(ConsumeDirectlyRequest {
            group: fields.text("consumerGroup")?,
            client_id: fields.text("clientId")?,
            message_id: fields.text("msgId")?,
            topic: fields.optional_text("topic"),
        })
    }
}

/// 223: where the clients of a group stand in a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct ConsumerStatusRequest<'a> {
    pub topic: &'a str,
    pub group: &'a str,
    /// Only this client, by its id: RocketMQ calls it an address.
    pub client_id: Option<&'a str>,
}

impl<'a> ConsumerStatusRequest<'a> {
    /// Reads 223.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        Ok(ConsumerStatusRequest {
            topic: fields.text("topic")?,
            group: fields.text("group")?,
            client_id: fields.optional_text("clientAddr"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::header_of;

    #[test]
    fn clients_are_named() {
        let header =
            header_of(r#"{"extFields":{"clientID":"c","clientId":"d","consumerGroup":"G","producerGroup":""}}"#);
        let leaves = UnregisterClientRequest { client_id: "c", producer_group: None, consumer_group: Some("G") };
        assert_eq!(UnregisterClientRequest::parse(&header), Ok(leaves));
        assert_eq!(ConsumerListRequest::parse(&header), Ok(ConsumerListRequest { group: "G" }));
        assert_eq!(ConnectionsRequest::parse_consumer(&header), Ok(ConnectionsRequest { group: "G" }));
        assert_eq!(ConnectionsRequest::parse_producer(&header), Ok(ConnectionsRequest { group: "" }));
        let info = RunningInfoRequest { group: "G", client_id: "d", jstack: None };
        assert_eq!(RunningInfoRequest::parse(&header), Ok(info));
        assert_eq!(ConsumeDirectlyRequest::parse(&header), Err(BadRequest::Missing { field: "msgId" }));
        let asked = header_of(r#"{"extFields":{"topic":"T","group":"G","clientAddr":""}}"#);
        let status = ConsumerStatusRequest { topic: "T", group: "G", client_id: None };
        assert_eq!(ConsumerStatusRequest::parse(&asked), Ok(status));
    }
}
