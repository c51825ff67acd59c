//! The client's half of a connection: one request at a time, and its response found among what comes back.
//!
//! State of one connection. Whoever has the socket writes what [`Exchange::request`] gives, puts what it reads into [`Exchange::received`] and asks
//! [`Exchange::take_response`] until that gives the response; the control plane does so with an asynchronous socket, `ringmq-admin` with a blocking one.
//! After an [`ExchangeError`], and after a request whose response was given up, the connection is of no use.

use bytes::{Buf as _, Bytes, BytesMut};

use crate::code::{RequestCode, ResponseCode};
use crate::frame::{self, Encoding, FrameError, RawFrame};
use crate::header::{Header, HeaderError};
use crate::reply::{ExtValue, encode_request};

/// The other side does not speak RocketMQ's protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// The length field is wrong.
    #[error("what is no frame: {0}")]
    Frame(#[from] FrameError),
    /// A frame without a header that can be read.
    #[error("what is no header: {0}")]
    Header(#[from] HeaderError),
}

/// What the other side answers; what its code means is the caller's matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// A [`ResponseCode`], or a number that is none.
    pub code: i32,
    /// Why it was refused, for people; empty if it does not say.
    pub remark: String,
    /// As it came; empty if there is none.
    pub body: Bytes,
    ext: Vec<(String, String)>,
}

impl Response {
    /// Whether its code is 0.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.code == ResponseCode::Success.number()
    }

    /// An extension field that is not empty.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let field = self.ext.iter().find(|(known, _)| known == name);
        field.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// An extension field that is a decimal number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<i64> {
        self.field(name)?.parse().ok()
    }
}

/// What a connection remembers between two reads: the number of its last request, and bytes that are no whole frame yet.
#[derive(Debug, Default)]
pub struct Exchange {
    opaque: i32,
    received: BytesMut,
}

impl Exchange {
    /// A request with the next number, to be written as it is. It takes the place of the one before.
    ///
    /// # Panics
    /// As [`encode_request`], if fields and body exceed a frame.
    #[must_use]
    pub fn request(&mut self, code: RequestCode, ext: &[(&str, ExtValue<'_>)], body: &[u8]) -> BytesMut {
        self.opaque = self.opaque.wrapping_add(1);
        let mut request = BytesMut::new();
        encode_request(Encoding::Json, code.number(), self.opaque, false, ext, body, &mut request);
        request
    }

    /// Where bytes of the socket are appended. Bounded by the longest frame, if [`Exchange::take_response`] is asked after each read.
    pub fn received(&mut self) -> &mut BytesMut {
        &mut self.received
    }

    /// The response to the last request, if it is there. Whatever else came before it is dropped: requests of the other side (a new master elsewhere)
    /// and late responses concern nobody here.
    ///
    /// # Errors
    /// See [`ExchangeError`].
    pub fn take_response(&mut self) -> Result<Option<Response>, ExchangeError> {
        while let Some(RawFrame { encoding, header, body, size }) = frame::split(&self.received)? {
            let header = Header::decode(encoding, header)?;
            let is_wanted = header.is_response() && header.opaque == self.opaque;
            let response = is_wanted.then(|| Response {
                code: header.code,
                remark: header.remark().unwrap_or_default().to_owned(),
                body: Bytes::copy_from_slice(body),
                ext: header.ext.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            });
            self.received.advance(size);
            if response.is_some() {
                return Ok(response);
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::{Reply, encode_reply};

    #[test]
    fn the_response_is_found_among_what_else_comes_however_it_is_cut() {
        let mut exchange = Exchange::default();
        let request = exchange.request(RequestCode::GetBrokerClusterInfo, &[("topic", ExtValue::Str("T"))], b"body");
        let frame = frame::split(&request).expect("a frame").expect("whole");
        let header = Header::decode(frame.encoding, frame.header).expect("a header");
        assert_eq!((header.code, header.opaque), (RequestCode::GetBrokerClusterInfo.number(), 1));
        let mut stream = BytesMut::new();
        encode_request(Encoding::Json, 40, 1, true, &[], &[], &mut stream);
        let ext = [("offset", ExtValue::Str("7")), ("empty", ExtValue::Str(""))];
        let reply = Reply { ext: &ext, body: b"yes", ..Reply::new(ResponseCode::Success) };
        encode_reply(Encoding::Json, 0, &reply, &mut stream);
        encode_reply(Encoding::Json, 1, &reply, &mut stream);
        for byte in &stream[..stream.len() - 1] {
            exchange.received().extend_from_slice(&[*byte]);
            assert_eq!(exchange.take_response(), Ok(None));
        }
        exchange.received().extend_from_slice(&stream[stream.len() - 1..]);
        let response = exchange.take_response().expect("it speaks the protocol").expect("it is there");
        assert!(response.is_success());
        assert_eq!(
            (response.number("offset"), response.field("empty"), response.number("none")),
            (Some(7), None, None)
        );
        assert_eq!(response.body, b"yes"[..]);
        assert_eq!(exchange.take_response(), Ok(None));
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        let mut exchange = Exchange::default();
        exchange.received().extend_from_slice(b"HTTP/1.1 400 Bad Request");
        assert!(matches!(exchange.take_response(), Err(ExchangeError::Frame(_))));
    }
}
