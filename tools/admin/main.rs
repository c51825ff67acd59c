//! `ringmq-admin`: topics, groups, offsets and the cluster, on any RocketMQ-compatible broker.
//!
//! Its own words are `topic create` and so on; `mqadmin`'s verbs of the same meaning are accepted too. `store` is `ringmq store`, which it
//! starts. Exit codes: 0, 1 for an error (one sentence on stderr), 2 for a wrong command line.

mod cluster;
mod consume;
#[cfg(test)]
mod fake;
mod group;
mod offset;
mod output;
mod replica;
mod send;
mod stats;
mod store;
mod take_back;
mod topic;
mod wire;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::output::Output;
use crate::wire::{AdminError, Cluster};

/// Topics, groups, offsets and the cluster, on any RocketMQ-compatible broker.
#[derive(Parser)]
#[command(name = "ringmq-admin", version, max_term_width = 100, disable_help_subcommand = true)]
struct Cli {
    /// Name servers, HOST:PORT separated by ';'. Default: NAMESRV_ADDR, then 127.0.0.1:9876.
    #[arg(short = 'n', long = "namesrv", global = true, value_name = "ADDRESSES")]
    name_servers: Option<String>,
    /// Print JSON instead of tables.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Topics: list, create, delete, route, status.
    #[command(subcommand)]
    Topic(TopicCommand),
    /// Consumer groups: list, create, delete, progress.
    #[command(subcommand)]
    Group(GroupCommand),
    /// The cluster: list (roles, ends of logs, lag), stats (rates, latency by stage).
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Consumer offsets: get, reset.
    #[command(subcommand)]
    Offset(OffsetCommand),
    /// The files of a store whose node does not run: check, repair. Starts `ringmq store`, with what follows.
    #[command(disable_help_flag = true)]
    Store(store::StoreArguments),
    /// Replicas that cannot go on by themselves: give-up, take-back.
    #[command(subcommand)]
    Replica(ReplicaCommand),
    /// Send a message to a topic.
    #[command(alias = "sendMessage")]
    Send(send::SendArguments),
    /// Read a topic as a group, from masters or their slaves, until Ctrl-C.
    #[command(alias = "consumeMessage")]
    Consume(consume::ConsumeArguments),
    #[command(name = "topicList", hide = true)]
    TopicList(ClusterName),
    #[command(name = "updateTopic", hide = true)]
    UpdateTopic(topic::CreateArguments),
    #[command(name = "deleteTopic", hide = true)]
    DeleteTopic(topic::DeleteArguments),
    #[command(name = "topicRoute", hide = true)]
    TopicRoute(TopicName),
    #[command(name = "topicStatus", hide = true)]
    TopicStatus(TopicName),
    #[command(name = "clusterList", hide = true)]
    ClusterList,
    #[command(name = "updateSubGroup", hide = true)]
    UpdateSubGroup(group::GroupName),
    #[command(name = "deleteSubGroup", hide = true)]
    DeleteSubGroup(group::GroupName),
    #[command(name = "consumerProgress", hide = true)]
    ConsumerProgress(group::ProgressArguments),
}

#[derive(Subcommand)]
enum TopicCommand {
    /// Names of all topics, or of one cluster's.
    List(ClusterName),
    /// Create a topic, or change its queues; --queues places them over cores and brokers.
    Create(topic::CreateArguments),
    /// Delete a topic everywhere, its messages too.
    Delete(topic::DeleteArguments),
    /// Which brokers have how many of its queues.
    Route(TopicName),
    /// First and next offset of each queue.
    Status(TopicName),
}

#[derive(Subcommand)]
enum GroupCommand {
    /// Names of all consumer groups.
    List,
    /// Create a consumer group on every broker.
    Create(group::GroupName),
    /// Delete a consumer group and its offsets on every broker.
    Delete(group::GroupName),
    /// How far a group has read, queue by queue.
    Progress(group::ProgressArguments),
}

#[derive(Subcommand)]
enum ClusterCommand {
    /// Every replica with its role, the end of its log, and how far it is behind.
    List,
    /// Every replica's messages a second over the last 10 seconds, and how long the stages of a message's way took (ringmq only) over the
    /// last one to two minutes, in microseconds.
    Stats,
}

#[derive(Subcommand)]
enum ReplicaCommand {
    /// Let a slave that has what its master has not move that aside, and follow.
    GiveUp(replica::GiveUpArguments),
    /// Let a master that has less than its slave copy that one's log, and be its master again.
    TakeBack(take_back::TakeBackArguments),
}

#[derive(Subcommand)]
enum OffsetCommand {
    /// Where a group stands in a topic.
    Get(offset::Arguments),
    /// Move a group, also while its consumers are online.
    Reset(offset::ResetArguments),
}

#[derive(Args)]
struct ClusterName {
    /// Only this cluster.
    #[arg(short = 'c', long)]
    cluster: Option<String>,
}

#[derive(Args)]
struct TopicName {
    /// The topic.
    #[arg(short = 't', long)]
    topic: String,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output { json: cli.json };
    match run(cli, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringmq-admin: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli, output: Output) -> Result<(), AdminError> {
    let given = cli.name_servers.or_else(|| std::env::var("NAMESRV_ADDR").ok());
    let mut cluster = Cluster::new(given.as_deref().unwrap_or("127.0.0.1:9876"));
    let cluster = &mut cluster;
    match cli.command {
        Command::Topic(TopicCommand::List(of)) | Command::TopicList(of) => {
            topic::list(cluster, output, of.cluster.as_deref())
        }
        Command::Topic(TopicCommand::Create(arguments)) | Command::UpdateTopic(arguments) => {
            topic::create(cluster, output, &arguments)
        }
        Command::Topic(TopicCommand::Delete(arguments)) | Command::DeleteTopic(arguments) => {
            topic::delete(cluster, output, &arguments)
        }
        Command::Topic(TopicCommand::Route(of)) | Command::TopicRoute(of) => topic::route(cluster, output, &of.topic),
        Command::Topic(TopicCommand::Status(of)) | Command::TopicStatus(of) => {
            topic::status(cluster, output, &of.topic)
        }
        Command::Group(GroupCommand::List) => group::list(cluster, output),
        Command::Group(GroupCommand::Create(of)) | Command::UpdateSubGroup(of) => {
            group::create(cluster, output, &of.group)
        }
        Command::Group(GroupCommand::Delete(of)) | Command::DeleteSubGroup(of) => {
            group::delete(cluster, output, &of.group)
        }
        Command::Group(GroupCommand::Progress(arguments)) | Command::ConsumerProgress(arguments) => {
            group::progress(cluster, output, &arguments)
        }
        Command::Cluster(ClusterCommand::List) | Command::ClusterList => cluster::list(cluster, output),
        Command::Cluster(ClusterCommand::Stats) => stats::stats(cluster, output),
        Command::Offset(OffsetCommand::Get(arguments)) => offset::get(cluster, output, &arguments),
        Command::Offset(OffsetCommand::Reset(arguments)) => offset::reset(cluster, output, &arguments),
        Command::Store(arguments) => Err(store::store(output, &arguments)),
        Command::Replica(ReplicaCommand::GiveUp(arguments)) => replica::give_up(cluster, output, &arguments),
        Command::Replica(ReplicaCommand::TakeBack(arguments)) => take_back::take_back(cluster, output, &arguments),
        Command::Send(arguments) => send::send(cluster, output, &arguments),
        Command::Consume(arguments) => consume::consume(cluster, output, &arguments),
    }
}
