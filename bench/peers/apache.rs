//! Apache RocketMQ, 5.3.3 or a stated version: name server, broker and mqadmin as child processes.
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::ports::PortBlock;
use crate::process::{Process, StartError};
use crate::registration::is_registered;
use crate::stock::{self, Missing};

/// What both servers print when they serve.
const READY: &str = "boot success";
/// A broker with pre-touched 4 GB heap needs 8-12 s on two idle cores; tests may share them.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// Apache RocketMQ, fetched and ready to be started.
#[derive(Debug, Clone)]
pub struct Apache {
    jars: PathBuf,
    /// Words before `java`.
    launcher: Vec<OsString>,
}

/// The version that [`Apache::locate`] fetches.
const VERSION: &str = "5.3.3";

/// When a message counts as stored: Apache's `flushDiskType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// `ASYNC_FLUSH`: in the page cache.
    Async,
    /// `SYNC_FLUSH`: on the disk.
    Sync,
}

/// Apache's `brokerRole`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `ASYNC_MASTER`: answers before slaves have the message.
    AsyncMaster,
    /// `SYNC_MASTER`: waits for `inSyncReplicas - 1` slaves; with the default of 1 for none at all.
    SyncMaster,
    /// `SLAVE`: copies from its master; `broker_id` must not be 0.
    Slave,
}

/// Settings of an Apache broker. Start from [`BrokerOptions::small`] or [`BrokerOptions::fast`].
#[derive(Debug, Clone)]
pub struct BrokerOptions {
    /// `HOST:PORT` of its name servers, `;` between.
    pub name_servers: String,
    /// `brokerName`; a master and its slaves share it.
    pub broker_name: String,
    /// `brokerId`, 0 for a master.
    pub broker_id: u64,
    /// `brokerRole`.
    pub role: Role,
    /// `flushDiskType`.
    pub flush: Flush,
    /// `inSyncReplicas`: copies, its own counted, that a `SYNC_MASTER` waits for.
    pub in_sync_replicas: u32,
    /// `-Xms` and `-Xmx`, MiB.
    pub heap_mb: u32,
    /// Touch the whole heap at the start: slower start, no page faults while measured.
    pub pre_touch: bool,
    /// First compiler only: quicker start, slower in the long run.
    pub quick_start: bool,
    /// `listenPort`; 0 chooses one whose neighbours -2 (VIP) and +1 (HA) are free.
    pub listen_port: u16,
    /// `storePathRootDir`; a fresh folder, removed at the end, when `None`.
    pub store_dir: Option<PathBuf>,
    /// Further lines of its configuration: key, value. They win over the rest.
    pub more: Vec<(String, String)>,
}

impl BrokerOptions {
    /// For tests: a heap of 512 MiB, quick to start, small files.
    #[must_use]
    pub fn small(name_servers: &str) -> Self {
        Self {
            name_servers: name_servers.to_owned(),
            broker_name: "broker-a".to_owned(),
            broker_id: 0,
            role: Role::AsyncMaster,
            flush: Flush::Async,
            in_sync_replicas: 1,
            heap_mb: 512,
            pre_touch: false,
            quick_start: true,
            listen_port: 0,
            store_dir: None,
            more: vec![
                ("mappedFileSizeCommitLog".to_owned(), (64 << 20).to_string()),
                // On a busy machine requests wait longer than the 200 ms after which Apache refuses them (and drops
                // oneway ones without a word).
                ("waitTimeMillsInSendQueue".to_owned(), 20_000.to_string()),
                ("osPageCacheBusyTimeOutMills".to_owned(), 20_000.to_string()),
            ],
        }
    }

    /// For measurements: 3 GiB heap, touched at the start, all compilers; else Apache's defaults.
    #[must_use]
    pub fn fast(name_servers: &str) -> Self {
        Self { heap_mb: 3072, pre_touch: true, quick_start: false, more: Vec::new(), ..Self::small(name_servers) }
    }

    fn properties(&self, listen_port: u16, store_dir: &Path) -> String {
        let role = match self.role {
            Role::AsyncMaster => "ASYNC_MASTER",
            Role::SyncMaster => "SYNC_MASTER",
            Role::Slave => "SLAVE",
        };
        let flush = match self.flush {
            Flush::Async => "ASYNC_FLUSH",
            Flush::Sync => "SYNC_FLUSH",
        };
        let mut text = format!(
            "brokerClusterName=DefaultCluster\nbrokerName={}\nbrokerId={}\nbrokerRole={role}\nflushDiskType={flush}\n\
             inSyncReplicas={}\nbrokerIP1=127.0.0.1\nbrokerIP2=127.0.0.1\nnamesrvAddr={}\nlistenPort={listen_port}\n\
             haListenPort={}\nstorePathRootDir={}\nautoCreateTopicEnable=true\n",
            self.broker_name,
            self.broker_id,
            self.in_sync_replicas,
            self.name_servers,
            listen_port + 1,
            store_dir.display(),
        );
        for (key, value) in &self.more {
            writeln!(text, "{key}={value}").expect("a string takes all");
        }
        text
    }

    /// The JVM's flags.
    #[must_use]
    pub fn java_flags(&self) -> Vec<String> {
        let mut flags = vec![
            format!("-Xms{}m", self.heap_mb),
            format!("-Xmx{}m", self.heap_mb),
            "-XX:+UseG1GC".to_owned(),
            format!("-XX:MaxDirectMemorySize={}m", if self.heap_mb < 1024 { 512 } else { 2048 }),
        ];
        if self.pre_touch {
            flags.push("-XX:+AlwaysPreTouch".to_owned());
        }
        if self.quick_start {
            flags.push("-XX:TieredStopAtLevel=1".to_owned());
        }
        flags
    }
}

/// A running Apache name server; ends when dropped.
#[derive(Debug)]
pub struct NameServer {
    process: Process,
    listen_port: u16,
    _ports: PortBlock,
    _home: Home,
}

impl NameServer {
    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.listen_port)
    }

    /// Its process, for its id and its log.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }
}

/// A running Apache broker; ends when dropped.
#[derive(Debug)]
pub struct Broker {
    process: Process,
    listen_port: u16,
    store_dir: PathBuf,
    _ports: Option<PortBlock>,
    _home: Home,
}

impl Broker {
    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.listen_port)
    }

    /// Its `storePathRootDir`.
    #[must_use]
    pub fn store_dir(&self) -> &Path {
        &self.store_dir
    }

    /// Its process, for its id and its log.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Kills it now (SIGKILL), as a crash would.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}

impl Apache {
    /// Finds Java and the jars, and fetches the jars the first time.
    ///
    /// # Errors
    /// [`Missing`] when Java or Maven is not installed, or Maven reaches no repository.
    pub fn locate() -> Result<Self, Missing> {
        Self::locate_version(VERSION)
    }

    /// The same of a stated version, `5.2.0`.
    ///
    /// # Errors
    /// [`Missing`] also when no repository has that version.
    pub fn locate_version(version: &str) -> Result<Self, Missing> {
        if version.is_empty() || !version.chars().all(|letter| letter.is_ascii_digit() || letter == '.') {
            let remedy = "a version is numbers and dots, such as 5.3.3".to_owned();
            return Err(Missing { what: format!("Apache RocketMQ {version}"), remedy });
        }
        let pom = include_str!("maven/apache-5.3.3.xml").replace(VERSION, version);
        Ok(Self { jars: stock::jars(&format!("apache-{version}"), &pom)?, launcher: Vec::new() })
    }

    /// Starts its servers with `words` before `java`: a program that becomes the one whose words follow.
    #[must_use]
    pub fn launched_by(self, words: Vec<OsString>) -> Self {
        Self { launcher: words, ..self }
    }

    /// Folder of all its jars, those of the Java client 5.3.3 among them.
    #[must_use]
    pub fn jars(&self) -> &Path {
        &self.jars
    }

    /// Starts a name server on a free port and waits until it serves.
    ///
    /// # Errors
    /// [`StartError`], with the end of its log.
    pub fn start_name_server(&self) -> Result<NameServer, StartError> {
        let ports = PortBlock::reserve(1);
        let home = Home::create("namesrv")?;
        let listen_port = ports.listen();
        let flags = ["-Xms128m", "-Xmx256m", "-XX:TieredStopAtLevel=1"].map(str::to_owned);
        let process = self.start_server(
            "Apache name server",
            "org.apache.rocketmq.namesrv.NamesrvStartup",
            &flags,
            &format!("listenPort={listen_port}\n"),
            &home,
        )?;
        Ok(NameServer { process, listen_port, _ports: ports, _home: home })
    }

    /// Starts a broker and waits until it serves and its name servers know it.
    ///
    /// # Errors
    /// [`StartError`], with the end of its log.
    pub fn start_broker(&self, options: &BrokerOptions) -> Result<Broker, StartError> {
        let ports = (options.listen_port == 0).then(|| PortBlock::reserve(1));
        let listen_port = ports.as_ref().map_or(options.listen_port, PortBlock::listen);
        let home = Home::create("broker")?;
        let store_dir = options.store_dir.clone().unwrap_or_else(|| home.path.join("store"));
        let mut process = self.start_server(
            &format!("Apache broker {}", options.broker_name),
            "org.apache.rocketmq.broker.BrokerStartup",
            &options.java_flags(),
            &options.properties(listen_port, &store_dir),
            &home,
        )?;
        let address = format!("127.0.0.1:{listen_port}");
        process.wait_until(START_TIMEOUT, |_| is_registered(&options.name_servers, &address))?;
        Ok(Broker { process, listen_port, store_dir, _ports: ports, _home: home })
    }

    /// Runs one command of mqadmin to its end, for example `&["clusterList", "-n", "127.0.0.1:9876"]`.
    ///
    /// # Errors
    /// [`StartError::Io`] when Java does not run. An unhappy mqadmin is in the output: it exits with 0 even then.
    pub fn mqadmin(&self, arguments: &[&str]) -> Result<Output, StartError> {
        let name = "mqadmin".to_owned();
        let home = Home::create("mqadmin")?;
        self.java("org.apache.rocketmq.tools.command.MQAdminStartup", &["-XX:TieredStopAtLevel=1".to_owned()], &home)
            .args(arguments)
            .output()
            .map_err(|source| StartError::Io { name, source })
    }

    fn start_server(
        &self,
        name: &str,
        class: &str,
        flags: &[String],
        properties: &str,
        home: &Home,
    ) -> Result<Process, StartError> {
        let config = home.path.join("server.properties");
        fs::write(&config, properties).map_err(|source| StartError::Io { name: name.to_owned(), source })?;
        let mut command = self.java(class, flags, home);
        command.arg("-c").arg(&config);
        let mut process = Process::start(name, command, &home.path.join("output.log"))?;
        process.wait_until(START_TIMEOUT, |log| log.contains(READY))?;
        Ok(process)
    }

    fn java(&self, class: &str, flags: &[String], home: &Home) -> Command {
        let mut words = self.launcher.iter().cloned().chain(["java".into()]);
        let mut command = Command::new(words.next().expect("java at least"));
        command.args(words);
        java(command, class, flags, home, &self.jars.join("*").display().to_string())
    }
}

/// A JVM whose files all go to `home`.
pub(crate) fn java(mut command: Command, class: &str, flags: &[String], home: &Home, class_path: &str) -> Command {
    command.args(flags);
    command.arg(format!("-Drocketmq.home.dir={}", home.path.display()));
    command.arg(format!("-Duser.home={}", home.path.display()));
    command.args(["-cp", class_path, class]).current_dir(&home.path);
    command
}

/// A fresh folder for one server: `rocketmq.home.dir` (which needs an empty `conf`), `user.home` and the store.
/// Removed with its value.
#[derive(Debug)]
pub(crate) struct Home {
    path: PathBuf,
}

impl Home {
    pub(crate) fn create(kind: &str) -> Result<Self, StartError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ringmq-apache-{kind}-{}-{count}", std::process::id()));
        fs::create_dir_all(path.join("conf")).map_err(|source| StartError::Io { name: kind.to_owned(), source })?;
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // Left behind at worst: the system's temporary folder is emptied by the system.
        drop(fs::remove_dir_all(&self.path));
    }
}
