//! What an operator decides where replicas cannot go on by themselves.

use clap::Args;
use ringmq_protocol::code::RequestCode;
use ringmq_protocol::reply::ExtValue;
use ringmq_protocol::request::{DECIDE_FROM, DECIDE_TO};

use crate::consent::{Consent, Plan};
use crate::output::Output;
use crate::wire::{AdminError, Cluster};

/// Which slave, and whether it is only looked at.
#[derive(Args)]
pub(crate) struct GiveUpArguments {
    /// The slave's HOST:PORT, as `cluster list` shows it.
    #[arg(short = 'b', long, value_name = "HOST:PORT")]
    broker: String,
    #[command(flatten)]
    consent: Consent,
}

/// A slave that has what its master has not, and therefore does not follow, gives it up.
pub(crate) fn give_up(cluster: &mut Cluster, output: Output, arguments: &GiveUpArguments) -> Result<(), AdminError> {
    let (broker, what) = (arguments.broker.as_str(), "to give up what its master has not");
    let preview = cluster.must(broker, what, RequestCode::DecideReplica, &[], &[])?;
    let text = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
    let mut plan = Plan { lines: vec![format!("{broker}: {}", text(&preview.body))], ..Plan::default() };
    plan.facts.insert("broker".to_owned(), broker.into());
    plan.facts.insert("what".to_owned(), text(&preview.body).into());
    if !arguments.consent.is_given(output, &plan)? {
        return Ok(());
    }
    // As it was said a moment ago, and nothing else.
    let range = [DECIDE_FROM, DECIDE_TO].map(|name| (name, ExtValue::Str(preview.field(name).unwrap_or_default())));
    let done = cluster.must(broker, what, RequestCode::DecideReplica, &range, &[])?;
    plan.facts.insert("what".to_owned(), text(&done.body).into());
    output.done(&format!("{broker}: ordered: {}", text(&done.body)), &plan.facts);
    Ok(())
}
