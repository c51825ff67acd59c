//! What an operator decides where replicas cannot go on by themselves. A request of ringmq's own, asked twice: without a range it is answered with
//! what would be done and the range that it is about, and with that range it is done, if the range is still the same.

use super::{BadRequest, HeaderFields};
use crate::header::Header;
use crate::model::LogOffset;

/// Field of request and answer: the first byte of what is decided about.
pub const DECIDE_FROM: &str = "from";
/// Field of request and answer: the end of it.
pub const DECIDE_TO: &str = "to";

/// RINGMQ_DECIDE_REPLICA 720001: a slave gives up what its master has not, and follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecideRequest {
    /// What is given up; `None` asks what would be.
    pub range: Option<(LogOffset, LogOffset)>,
}

impl DecideRequest {
    /// Reads 720001.
    ///
    /// # Errors
    /// If one end of the range is missing, or is no number.
    pub fn parse(header: &Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        if fields.optional_text(DECIDE_FROM).is_none() {
            return Ok(DecideRequest { range: None });
        }
        let (from, to) = (fields.number(DECIDE_FROM)?, fields.number(DECIDE_TO)?);
        Ok(DecideRequest { range: Some((LogOffset(from), LogOffset(to))) })
    }
}
