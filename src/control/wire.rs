//! One connection of the control plane to a server that speaks RocketMQ's protocol, one request at a time.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::protocol::code::{RequestCode, ResponseCode};
use crate::protocol::frame::{self, Encoding, FrameError, RawFrame};
use crate::protocol::header::{Header, HeaderError};
use crate::protocol::reply::{ExtValue, encode_request};

/// A connection must be made within this.
const CONNECT: Duration = Duration::from_secs(3);

/// Why an exchange failed. But for [`WireError::Refused`] the connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it sent what is no frame: {0}")]
    Frame(#[from] FrameError),
    #[error("it sent what is no header: {0}")]
    Header(#[from] HeaderError),
    #[error("no connection within 3 s")]
    ConnectTimeout,
    #[error("no answer within {0:?}")]
    AnswerTimeout(Duration),
    #[error("it closed the connection")]
    Closed,
    #[error("it refused with code {code}: {remark}")]
    Refused { code: i32, remark: String },
}

/// A success.
#[derive(Debug, Default)]
pub(super) struct Answer {
    ext: Vec<(String, String)>,
    pub(super) body: Bytes,
}

impl Answer {
    /// An extension field that is not empty.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let field = self.ext.iter().find(|(known, _)| known == name);
        field.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }
}

pub(super) struct Wire {
    stream: TcpStream,
    received: BytesMut,
    opaque: i32,
}

impl Wire {
    /// Connects to `host:port`.
    pub(super) async fn connect(address: &str) -> Result<Wire, WireError> {
        let stream = timeout(CONNECT, TcpStream::connect(address)).await.map_err(|_| WireError::ConnectTimeout)??;
        stream.set_nodelay(true)?;
        Ok(Wire { stream, received: BytesMut::new(), opaque: 0 })
    }

    /// Sends a request and waits for its answer.
    pub(super) async fn ask(
        &mut self,
        code: RequestCode,
        ext: &[(&str, ExtValue<'_>)],
        body: &[u8],
        within: Duration,
    ) -> Result<Answer, WireError> {
        self.opaque = self.opaque.wrapping_add(1);
        let opaque = self.opaque;
        let mut request = BytesMut::new();
        encode_request(Encoding::Json, code.number(), opaque, false, ext, body, &mut request);
        let exchange = async {
            self.stream.write_all(&request).await?;
            loop {
                while let Some(taken) = self.take_reply(opaque)? {
                    if let Taken::Reply(answer) = taken {
                        return Ok(answer);
                    }
                }
                if self.stream.read_buf(&mut self.received).await? == 0 {
                    return Err(WireError::Closed);
                }
            }
        };
        timeout(within, exchange).await.map_err(|_| WireError::AnswerTimeout(within))?
    }

    /// Takes one frame off what was received. Requests of the other side (a new master elsewhere) concern nobody here.
    fn take_reply(&mut self, opaque: i32) -> Result<Option<Taken>, WireError> {
        let (size, taken) = {
            let Some(RawFrame { encoding, header, body, size }) = frame::split(&self.received)? else {
                return Ok(None);
            };
            let header = Header::decode(encoding, header)?;
            if !header.is_response() || header.opaque != opaque {
                (size, Ok(Taken::Other))
            } else if header.code == ResponseCode::Success.number() {
                let ext = header.ext.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
                (size, Ok(Taken::Reply(Answer { ext, body: Bytes::copy_from_slice(body) })))
            } else {
                let remark = header.remark().unwrap_or("").to_owned();
                (size, Err(WireError::Refused { code: header.code, remark }))
            }
        };
        self.received.advance(size);
        taken.map(Some)
    }

    /// Returns when the other side closes the connection or breaks the protocol.
    pub(super) async fn wait_closed(&mut self) -> WireError {
        loop {
            match self.stream.read_buf(&mut self.received).await {
                Ok(0) => return WireError::Closed,
                Ok(_) => {}
                Err(error) => return error.into(),
            }
            loop {
                match self.take_reply(self.opaque) {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(error) => return error,
                }
            }
        }
    }
}

enum Taken {
    Reply(Answer),
    Other,
}
