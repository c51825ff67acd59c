//! One connection of the control plane to a server that speaks RocketMQ's protocol, one request at a time.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::protocol::code::RequestCode;
use crate::protocol::exchange::{Exchange, ExchangeError, Response};
use crate::protocol::frame::Encoding;
use crate::protocol::reply::{ExtValue, encode_request};

/// A connection must be made within this.
const CONNECT: Duration = Duration::from_secs(3);

/// Why an exchange failed. But for [`WireError::Refused`] the connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it sent {0}")]
    Exchange(#[from] ExchangeError),
    #[error("no connection within 3 s")]
    ConnectTimeout,
    #[error("no answer within {0:?}")]
    AnswerTimeout(Duration),
    #[error("it closed the connection")]
    Closed,
    #[error("it refused with code {code}: {remark}")]
    Refused { code: i32, remark: String },
}

pub(super) struct Wire {
    stream: TcpStream,
    exchange: Exchange,
}

impl Wire {
    /// Connects to `host:port`.
    pub(super) async fn connect(address: &str) -> Result<Wire, WireError> {
        let stream = timeout(CONNECT, TcpStream::connect(address)).await.map_err(|_| WireError::ConnectTimeout)??;
        stream.set_nodelay(true)?;
        Ok(Wire { stream, exchange: Exchange::default() })
    }

    /// Sends a request and waits for its success.
    pub(super) async fn ask(
        &mut self,
        code: RequestCode,
        ext: &[(&str, ExtValue<'_>)],
        body: &[u8],
        within: Duration,
    ) -> Result<Response, WireError> {
        let request = self.exchange.request(code, ext, body);
        let answered = async {
            self.stream.write_all(&request).await?;
            loop {
                if let Some(response) = self.exchange.take_response()? {
                    return Ok(response);
                }
                if self.stream.read_buf(self.exchange.received()).await? == 0 {
                    return Err(WireError::Closed);
                }
            }
        };
        let response = timeout(within, answered).await.map_err(|_| WireError::AnswerTimeout(within))??;
        if response.is_success() {
            Ok(response)
        } else {
            Err(WireError::Refused { code: response.code, remark: response.remark })
        }
    }

    /// Sends a request that nobody answers.
    pub(super) async fn tell(
        &mut self,
        code: RequestCode,
        ext: &[(&str, ExtValue<'_>)],
        body: &[u8],
        within: Duration,
    ) -> Result<(), WireError> {
        let mut request = BytesMut::new();
        encode_request(Encoding::Json, code.number(), 0, true, ext, body, &mut request);
        let written = timeout(within, self.stream.write_all(&request)).await;
        Ok(written.map_err(|_| WireError::AnswerTimeout(within))??)
    }

    /// Returns when the other side closes the connection or breaks the protocol.
    pub(super) async fn wait_closed(&mut self) -> WireError {
        loop {
            match self.stream.read_buf(self.exchange.received()).await {
                Ok(0) => return WireError::Closed,
                Ok(_) => {}
                Err(error) => return error.into(),
            }
            if let Err(error) = self.exchange.take_response() {
                return error.into();
            }
        }
    }
}
