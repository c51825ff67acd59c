//! Clients: who leaves, and who is there.

use super::{BadRequest, Fields};
use crate::header::Header;

/// 35: a client leaves its groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnregisterClientRequest<'a> {
    /// The client.
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
        let fields = Fields(header);
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
    /// The group.
    pub group: &'a str,
}

impl<'a> ConsumerListRequest<'a> {
    /// Reads 38.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        Ok(ConsumerListRequest { group: Fields(header).text("consumerGroup")? })
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
    pub fn parse_consumer(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        Ok(ConnectionsRequest { group: Fields(header).text("consumerGroup")? })
    }

    /// Reads 204.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse_producer(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        Ok(ConnectionsRequest { group: Fields(header).text("producerGroup")? })
    }
}

/// 307 and 309: a question to one client, which the broker passes on with all its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayRequest<'a> {
    /// The client's group.
    pub group: &'a str,
    /// The client.
    pub client_id: &'a str,
}

impl<'a> RelayRequest<'a> {
    /// Reads 307 or 309.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = Fields(header);
        Ok(RelayRequest { group: fields.text("consumerGroup")?, client_id: fields.text("clientId")? })
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
        assert_eq!(RelayRequest::parse(&header), Ok(RelayRequest { group: "G", client_id: "d" }));
    }
}
