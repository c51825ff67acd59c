//! What ends an experiment early, one sentence each: what, where, what to do.

use crate::lab::cluster::ClusterError;
use crate::lab::probe::ProbeError;
use crate::lab::results::ResultsError;
use crate::lab::scenario::ScenarioError;
use crate::lab::spec::SpecError;
use crate::load::error::LoadError;
use crate::load::settings::SettingsError;

/// Why an experiment did not begin, or did not end as planned.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum LabError {
    #[error(
        "say what to measure: --up ringmq:all brings up a broker, --target HOST:PORT or -n HOST:PORT uses what is there"
    )]
    NoSubject,
    #[error("{experiment} takes {wanted}, and {found} were given")]
    Subjects {
        experiment: &'static str,
        /// How many it takes.
        wanted: &'static str,
        /// How many there are.
        found: usize,
    },
    /// Options that make no sense together.
    #[error("{0}")]
    Option(String),
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// A cluster does not do what it should.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A name server does not answer.
    #[error("{0}; is a name server there, and is that its port?")]
    Probe(ProbeError),
    /// A broker does not answer.
    #[error(transparent)]
    Silent(ProbeError),
    /// A name server without brokers.
    #[error("the name server {name_server} knows no master; start a broker with namesrvAddr={name_server}")]
    NoMaster { name_server: String },
    /// A load does not begin.
    #[error("{subject}: {source}{advice}")]
    Load {
        subject: String,
        source: LoadError,
        /// What to do, with what separates it.
        advice: &'static str,
    },
    /// A load is cut short by a broker.
    #[error("{subject} was lost in mid-run, and what was measured before is kept: {reason}")]
    CutShort {
        subject: String,
        /// What the load says.
        reason: String,
    },
    /// A file of results.
    #[error("the results are not kept: {0}; give --out a folder that can be written to")]
    Results(#[from] ResultsError),
    /// A folder for results.
    #[error("the results are not kept: {path}: {source}; give --out a folder that can be written to")]
    Folder {
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    #[error("cannot {action}: {source}")]
    System {
        action: &'static str,
        /// What the kernel says.
        source: std::io::Error,
    },
    #[error("interrupted")]
    Interrupted,
}

impl LabError {
    /// Of a load that did not begin on `subject`.
    pub fn load(subject: &str, source: LoadError) -> Self {
        let advice = match &source {
            LoadError::Connect { .. } => "; is a broker there, and is that its port?",
            LoadError::Refused { code: 16, .. } => {
                "; give this client the permission, or use a broker without access control"
            }
            _ => "",
        };
        Self::Load { subject: subject.to_owned(), source, advice }
    }

    /// Whether a person asked for it.
    pub fn is_interrupt(&self) -> bool {
        matches!(self, Self::Interrupted | Self::Cluster(ClusterError::Interrupted))
    }

    /// Whether it is the command line, or the scenario, that makes no sense.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::NoSubject
                | Self::Subjects { .. }
                | Self::Option(_)
                | Self::Spec(_)
                | Self::Settings(_)
                | Self::Scenario(_)
        )
    }
}
