//! What an operator decides where replicas cannot go on by themselves.

use clap::Args;
use ringmq_protocol::code::RequestCode;
use ringmq_protocol::reply::ExtValue;
use ringmq_protocol::request::{DECIDE_FROM, DECIDE_TO};

use crate::output::Output;
use crate::wire::{AdminError, Cluster};

/// Which slave, and whether it is only looked at.
#[derive(Args)]
pub(crate) struct GiveUpArguments {
    /// The slave's HOST:PORT, as `cluster list` shows it.
    #[arg(short = 'b', long, value_name = "HOST:PORT")]
    broker: String,
    /// Do it. Without this it is only said what would be done.
    #[arg(long)]
    yes: bool,
}

/// A slave that has what its master has not, and therefore does not follow, gives it up.
pub(crate) fn give_up(cluster: &mut Cluster, output: Output, arguments: &GiveUpArguments) -> Result<(), AdminError> {
    let (broker, what) = (arguments.broker.as_str(), "to give up what its master has not");
    let preview = cluster.must(broker, what, RequestCode::DecideReplica, &[], &[])?;
    let mut text = String::from_utf8_lossy(&preview.body).into_owned();
    if arguments.yes {
        // As it was said a moment ago, and nothing else.
        let range = [DECIDE_FROM, DECIDE_TO].map(|name| (name, ExtValue::Str(preview.field(name).unwrap_or_default())));
        let done = cluster.must(broker, what, RequestCode::DecideReplica, &range, &[])?;
        text = String::from_utf8_lossy(&done.body).into_owned();
    }
    let state = if arguments.yes { "ordered" } else { "preview; --yes does it" };
    output.table(&["BROKER", "STATE", "WHAT"], &[vec![broker.to_owned(), state.to_owned(), text]]);
    Ok(())
}
