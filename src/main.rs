//! `ringmq all | broker | namesrv`: read the configuration, wire up, exit code.
//!
//! Exit codes: 0 after a signal, 1 if it cannot start or a shard failed, 2 for a wrong command line. Every error is one sentence
//! on stderr that says what to do.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use ringmq::config::NamesrvConfig;
use ringmq::control::plane::{NameServerPlan, Outcome, Plane};
use tracing::warn;
use tracing_subscriber::EnvFilter;

/// A message broker that speaks Apache RocketMQ's protocol; every core is a broker.
#[derive(Parser)]
#[command(version, about, max_term_width = 100, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A name server and a broker node in one process: the way to begin.
    ///
    /// Without a file it listens on loopback, keeps its data in ./ringmq-data and uses every core.
    All(Node),
    /// A broker node, registered with the name servers given by -n or namesrvAddr.
    Broker(Node),
    /// A name server alone.
    Namesrv(NameServer),
}

#[derive(Args)]
struct Node {
    /// RocketMQ properties; conf/all.conf and conf/broker.conf explain every key.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Name servers to register with, HOST:PORT separated by ';'; wins over namesrvAddr and NAMESRV_ADDR.
    #[arg(short = 'n', long = "namesrv", value_name = "ADDRESSES")]
    name_servers: Option<String>,
    /// Print the configuration in force and exit.
    #[arg(short = 'p', long = "print")]
    print: bool,
}

#[derive(Args)]
struct NameServer {
    /// RocketMQ properties; conf/namesrv.conf explains every key.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the configuration in force and exit.
    #[arg(short = 'p', long = "print")]
    print: bool,
}

type Sentence = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
    let outcome = match &cli.command {
        Command::Namesrv(arguments) => name_server(arguments),
        Command::All(_) | Command::Broker(_) => Err("brokers come with the shards".into()),
    };
    match outcome {
        Ok(Outcome::Stopped) => ExitCode::SUCCESS,
        Ok(Outcome::Failed) => ExitCode::FAILURE,
        Err(sentence) => {
            eprintln!("ringmq: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn name_server(arguments: &NameServer) -> Result<Outcome, Sentence> {
    let (file, text) = read_config(arguments.config.as_ref())?;
    let config = NamesrvConfig::read(&file, &text)?;
    if arguments.print {
        say(config.print().trim_end());
        return Ok(Outcome::Stopped);
    }
    for entry in &config.not_needed {
        warn!("{file} line {}: {} is not needed by ringmq", entry.line, entry.key);
    }
    let (ip, port, kept) = (config.bind_ip, config.listen_port, config.kv_config_path.display().to_string());
    let plane = Plane::start(Some(NameServerPlan { config, port_key: "listenPort" }))?;
    say(&format!("name server  {}", host_port(ip, port)));
    say("promises     routes live in memory: brokers register again after a restart");
    say(&format!("keeps        {kept}"));
    Ok(plane.run_name_server())
}

/// The file's name and text; both of them stand for "no file" if there is none.
#[expect(clippy::disallowed_methods, reason = "main reads the configuration, once")]
fn read_config(path: Option<&PathBuf>) -> Result<(String, String), Sentence> {
    let Some(path) = path else { return Ok(("defaults".to_owned(), String::new())) };
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("{} cannot be read: {error}; give -c a properties file", path.display()))?;
    Ok((path.display().to_string(), text))
}

fn host_port(ip: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(ip, port).to_string()
}

#[expect(clippy::print_stdout, reason = "the start lines are what this command prints")]
fn say(line: &str) {
    println!("{line}");
}
