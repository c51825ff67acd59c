//! The node's settings in force, their file, and changes of them while the node runs. State of the node.
//!
//! A change is checked as a whole before anything happens; then the file has it, durably; then the shards are told. So a change that is refused
//! has changed nothing, and one that a crash interrupts is in force after the next start.

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::properties::{self, Property};
use crate::config::{ConfigError, Fault, NodeConfig};
use crate::files;
use crate::letter::SettingsRefused;
use crate::protocol::code::ResponseCode;

/// Said of a change that no file keeps.
const NOT_KEPT: &str = "in force until the next start: the node was started without a file (-c) that could keep it";

/// See the module.
#[derive(Debug)]
pub struct Configuration {
    config: Arc<NodeConfig>,
    file: Option<PathBuf>,
    generation: u64,
}

/// A change that is checked and kept.
#[derive(Debug)]
pub(super) struct Changed {
    pub(super) config: Arc<NodeConfig>,
    pub(super) generation: u64,
    /// What is to be said beside success.
    pub(super) remark: Option<&'static str>,
}

impl Configuration {
    /// `config` is in force, and came from `file` if there was one.
    #[must_use]
    pub fn new(config: NodeConfig, file: Option<PathBuf>) -> Configuration {
        Configuration { config: Arc::new(config), file, generation: 0 }
    }

    pub(super) fn permission(&self) -> u8 {
        self.config.broker_permission
    }

    /// Changes what `text` names, in memory and in the file; the shards are still to be told.
    pub(super) fn change(&mut self, text: &str) -> Result<Changed, SettingsRefused> {
        let (config, changes) = self.config.changed(text).map_err(|error| refused(&error.fault))?;
        self.keep(&changes)?;
        self.config = Arc::new(config);
        self.generation = self.generation.saturating_add(1);
        let remark = self.file.is_none().then_some(NOT_KEPT);
        Ok(Changed { config: Arc::clone(&self.config), generation: self.generation, remark })
    }

    /// Somebody may have edited the file since the start: what it says now stays, and must still start a node.
    #[expect(
        clippy::disallowed_methods,
        reason = "the control plane is a shell; a few kilobytes, when an operator asks"
    )]
    fn keep(&self, changes: &[Property]) -> Result<(), SettingsRefused> {
        let Some(file) = &self.file else { return Ok(()) };
        let failed = |reason: String| SettingsRefused {
            code: ResponseCode::SystemError,
            remark: format!("nothing was changed, as {} cannot keep it: {reason}", file.display()),
        };
        // Through a link, which is to stay one.
        let path = file.canonicalize().map_err(|error| failed(error.to_string()))?;
        let text = std::fs::read_to_string(&path).map_err(|error| failed(error.to_string()))?;
        let text = properties::set(&text, changes);
        let kept = self.config.check_file(&file.display().to_string(), &text);
        kept.map_err(|error: ConfigError| failed(error.to_string()))?;
        files::make(&path, text.as_bytes()).map_err(|error| failed(error.to_string()))
    }
}

fn refused(fault: &Fault) -> SettingsRefused {
    let code = match fault {
        Fault::Fixed { .. } | Fault::NotSupported { .. } => ResponseCode::NoPermission,
        Fault::UnknownKey { .. }
        | Fault::SetTwice { .. }
        | Fault::BadEscape
        | Fault::BadValue { .. }
        | Fault::DoesNothing { .. }
        | Fault::Nothing
        | Fault::Contradiction(_) => ResponseCode::InvalidParameter,
    };
    SettingsRefused { code, remark: fault.to_string() }
}
