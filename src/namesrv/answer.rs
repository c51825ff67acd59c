//! What the name server answers, before it is bytes.

use std::path::PathBuf;

use crate::protocol::code::ResponseCode;
use crate::protocol::reply::{ExtValue, Reply};
use crate::protocol::request::BadRequest;

/// An answer, and what must be done before it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How the request ended.
    pub code: ResponseCode,
    /// Human text, for errors.
    pub remark: Option<String>,
    /// Extension fields.
    pub ext: Vec<(&'static str, String)>,
    /// The body, maybe empty.
    pub body: Vec<u8>,
    /// To be carried out first; if that fails, [`Answer::fail`] makes the answer say so.
    pub effect: Option<Box<NameServerEffect>>,
}

/// What the shell does for the name server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameServerEffect {
    /// Replace the file of the key-value configuration.
    PersistKv {
        /// The file.
        path: PathBuf,
        /// All of it.
        content: Vec<u8>,
    },
}

impl Answer {
    /// Success with nothing to say.
    #[must_use]
    pub fn success() -> Answer {
        Answer { code: ResponseCode::Success, remark: None, ext: Vec::new(), body: Vec::new(), effect: None }
    }

    /// Success with this body.
    #[must_use]
    pub fn body(body: Vec<u8>) -> Answer {
        Answer { body, ..Answer::success() }
    }

    /// Success with these fields.
    #[must_use]
    pub fn fields(ext: Vec<(&'static str, String)>) -> Answer {
        Answer { ext, ..Answer::success() }
    }

    /// A refusal and its reason.
    #[must_use]
    pub fn error(code: ResponseCode, remark: impl Into<String>) -> Answer {
        Answer { code, remark: Some(remark.into()), ..Answer::success() }
    }

    /// Turns a success whose effect failed into the error that it is.
    pub(crate) fn fail(&mut self, remark: &str) {
        *self = Answer::error(ResponseCode::SystemError, remark);
    }

    /// Lends the answer as a reply to be encoded.
    pub(crate) fn with_reply(&self, encode: impl FnOnce(&Reply<'_>)) {
        let ext: Vec<(&str, ExtValue<'_>)> = self.ext.iter().map(|(key, value)| (*key, ExtValue::Str(value))).collect();
        encode(&Reply { code: self.code, remark: self.remark.as_deref(), ext: &ext, body: &self.body });
    }
}

impl From<BadRequest> for Answer {
    fn from(bad: BadRequest) -> Answer {
        Answer::error(bad.code(), bad.to_string())
    }
}
