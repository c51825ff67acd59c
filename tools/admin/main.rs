//! `ringmq-admin`: topics, groups, offsets, messages and the cluster, on any RocketMQ-compatible broker.
//!
//! Its own words are `topic create` and so on; `mqadmin`'s verbs of the same meaning are accepted too ([`verb`]). `store` is `ringmq store`, which it
//! starts. Exit codes: 0, 1 for an error (one sentence on stderr, or an object with `--json`), 2 for a wrong command line.

mod client;
mod cluster;
mod config;
mod consent;
mod consume;
#[cfg(test)]
mod fake;
mod group;
mod message;
mod offset;
mod output;
mod progress;
mod record;
mod replica;
mod send;
mod stats;
mod store;
mod take_back;
mod time;
mod topic;
mod verb;
mod wire;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::output::Output;
use crate::wire::{AdminError, Cluster};

/// Topics, groups, offsets, messages and the cluster, on any RocketMQ-compatible broker.
///
/// What loses something (topic create with fewer queues, topic delete, group delete, offset reset, replica) is said first. On a terminal it is asked
/// for; elsewhere --yes does it. --dry-run only says it.
#[derive(Parser)]
#[command(name = "ringmq-admin", version = env!("RINGMQ_VERSION"), max_term_width = 100, disable_help_subcommand = true, after_long_help = JSON_HELP)]
struct Cli {
    /// Name servers, HOST or HOST:PORT (9876) separated by ';'. Default: NAMESRV_ADDR, then 127.0.0.1.
    #[arg(short = 'n', long = "namesrv", global = true, value_name = "ADDRESSES")]
    name_servers: Option<String>,
    /// Print JSON instead of tables.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

const JSON_HELP: &str = "With --json a table is a list of objects on one line, a message an object on a line of its own, and what was done an object with \"done\": true, \
which is false after --dry-run. Numbers are numbers, times are Unix milliseconds, what is not known is null. An error is one object on standard error: \
\"error\" is the sentence, \"kind\" a word that stays, \"code\" RocketMQ's response code of a refusal or null. tools/README.md lists the members of each.";

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
    /// Messages: get (by id), find (by key), peek (by place and time). No group moves.
    #[command(subcommand)]
    Message(message::MessageCommand),
    /// Connected producers and consumers: list.
    #[command(subcommand)]
    Client(ClientCommand),
    /// Settings of brokers: get, set.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// The files of a store whose node does not run: check, repair. Starts `ringmq store`, with what follows.
    #[command(disable_help_flag = true)]
    Store(store::StoreArguments),
    /// Replicas that cannot go on by themselves: give-up, take-back.
    #[command(subcommand)]
    Replica(ReplicaCommand),
    /// Send a message to a topic.
    Send(send::SendArguments),
    /// Read a topic as a group, from masters or their slaves, until Ctrl-C. The group stays where it is unless --commit is given.
    Consume(consume::ConsumeArguments),
}

#[derive(Subcommand)]
enum TopicCommand {
    /// Names of the users' topics and those of dead letters; of one cluster, or of all.
    List(topic::ListArguments),
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
    List(group::ListArguments),
    /// Create a consumer group on every broker.
    Create(group::GroupName),
    /// Delete a consumer group and its offsets on every broker.
    Delete(group::DeleteArguments),
    /// How far a group has read, queue by queue, or with --all every group.
    Progress(progress::ProgressArguments),
}

#[derive(Subcommand)]
enum ClusterCommand {
    /// Every replica with its role, the end of its log, and how far it is behind.
    List(ClusterName),
    /// Every replica's messages a second over the last 10 seconds, and how long the stages of a message's way took (ringmq only) over the
    /// last one to two minutes, in microseconds.
    Stats(ClusterName),
}

#[derive(Subcommand)]
enum ClientCommand {
    /// Every producer and consumer, its group, and the brokers it is connected to.
    List(client::ListArguments),
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
    let words = verb::own_words(std::env::args_os().collect());
    let parsed = Cli::command().try_get_matches_from(&words).and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return wrong_command_line(&error, &words),
    };
    let output = Output { json: cli.json };
    match run(cli, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.error(&error.to_string(), error.kind(), error.code());
            ExitCode::FAILURE
        }
    }
}

/// Help and version are no errors, and are text in any case.
fn wrong_command_line(error: &clap::Error, words: &[OsString]) -> ExitCode {
    let is_error = error.use_stderr() && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if is_error && words.iter().any(|word| word == "--json") {
        let text = error.render().to_string();
        // The first paragraph: what it names may stand on lines of its own.
        let lines: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
        let sentence = lines.join(" ");
        Output { json: true }.error(sentence.trim_start_matches("error: "), "usage", None);
    } else {
        // With stdout or stderr closed there is nobody to tell.
        drop(error.print());
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn run(cli: Cli, output: Output) -> Result<(), AdminError> {
    let given = cli.name_servers.or_else(|| std::env::var("NAMESRV_ADDR").ok());
    let mut cluster = Cluster::new(given.as_deref().unwrap_or("127.0.0.1"))?;
    let cluster = &mut cluster;
    match cli.command {
        Command::Topic(TopicCommand::List(arguments)) => topic::list(cluster, output, &arguments),
        Command::Topic(TopicCommand::Create(arguments)) => topic::create(cluster, output, &arguments),
        Command::Topic(TopicCommand::Delete(arguments)) => topic::delete(cluster, output, &arguments),
        Command::Topic(TopicCommand::Route(of)) => topic::route(cluster, output, &of.topic),
        Command::Topic(TopicCommand::Status(of)) => topic::status(cluster, output, &of.topic),
        Command::Group(GroupCommand::List(arguments)) => group::list(cluster, output, &arguments),
        Command::Group(GroupCommand::Create(of)) => group::create(cluster, output, &of),
        Command::Group(GroupCommand::Delete(arguments)) => group::delete(cluster, output, &arguments),
        Command::Group(GroupCommand::Progress(arguments)) => progress::progress(cluster, output, &arguments),
        Command::Cluster(ClusterCommand::List(of)) => cluster::list(cluster, output, of.cluster.as_deref()),
        Command::Cluster(ClusterCommand::Stats(of)) => stats::stats(cluster, output, of.cluster.as_deref()),
        Command::Offset(OffsetCommand::Get(arguments)) => offset::get(cluster, output, &arguments),
        Command::Offset(OffsetCommand::Reset(arguments)) => offset::reset(cluster, output, &arguments),
        Command::Message(command) => message::message(cluster, output, &command),
        Command::Client(ClientCommand::List(arguments)) => client::list(cluster, output, &arguments),
        Command::Config(command) => config::config(cluster, output, &command),
        Command::Store(arguments) => Err(store::store(output, &arguments)),
        Command::Replica(ReplicaCommand::GiveUp(arguments)) => replica::give_up(cluster, output, &arguments),
        Command::Replica(ReplicaCommand::TakeBack(arguments)) => take_back::take_back(cluster, output, &arguments),
        Command::Send(arguments) => send::send(cluster, output, &arguments),
        Command::Consume(arguments) => consume::consume(cluster, output, &arguments),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Column;

    #[test]
    fn the_command_line_is_one() {
        Cli::command().debug_assert();
    }

    /// Programs go by what is written there.
    #[test]
    fn the_readme_lists_the_members_of_each_object() {
        let readme = include_str!("../README.md");
        let members = record::MEMBERS.map(|name| ("", name));
        let tables: [(&str, &[Column<'_>]); 14] = [
            ("topic list", &topic::LIST),
            ("topic route`, `topic create", &topic::ROUTE),
            ("topic status", &topic::STATUS),
            ("group list", &group::LIST),
            ("group progress", &progress::PROGRESS),
            ("group progress --all", &progress::ALL),
            ("cluster list", &cluster::LIST),
            ("cluster stats", &stats::COLUMNS),
            ("offset get", &offset::GET),
            ("client list", &client::LIST),
            ("config get", &config::GET),
            ("config set", &config::SET),
            ("send", &send::SENT),
            ("consume`, `message", &members),
        ];
        for (command, columns) in tables {
            let keys: Vec<&str> = columns.iter().map(|(_, key)| *key).collect();
            let row = format!("| `{command}` | `{}` |", keys.join("`, `"));
            assert!(readme.contains(&row), "tools/README.md: {row}");
        }
    }
}
