//! The store: the folder that a node keeps everything in, claimed by one process at a time.
//!
//! ```text
//! <storePathRootDir>/
//!   lock        held (flock) while a process uses the store, and until its last writes have ended; holds that process's id as text
//!   store       the manifest, written once, at creation
//!   place       where the manifest lay when the store was last opened: `device=`, `inode=`, `path=`
//!   shard-0/    commitlog/ index/ config/     one folder a shard
//!   shard-1/    ...
//! ```
//!
//! The manifest is text, one `key=value` a line: `format` ([`FORMAT`]), `id` (32 hex digits, random), `shards`, `created_ms`; then its
//! [CRC](super::table). The number of shards belongs to the store: each shard is a broker with its own log, so it cannot change under the data.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use thiserror::Error;

use super::shelter::Unfit;
use super::table::{sealed_text, unsealed};
use crate::files;
use crate::limits::DISK_BLOCK_BYTES;
use crate::model::{ShardId, UnixMs};

/// Version of the folder's format that this program writes. It reads all older ones as well, and makes them this one when it opens them:
///
/// | format | what it brought |
/// |---|---|
/// | 1 | |
/// | 2 | identities in `shard-N/config/epochs`; a manifest comes after the folders of the shards, so one that is missing was there |
pub(crate) const FORMAT: u32 = 2;

/// What names a store apart from its path: 128 random bits, made at its creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreId(pub [u8; 16]);

impl std::fmt::Display for StoreId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Why a store cannot be used. Each message is one sentence that says what to do.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The folder or a file in it cannot be made, read or written.
    #[error(
        "cannot use the store folder: {source} at {path}; point storePathRootDir to a folder that this user may write"
    )]
    NotUsable {
        /// The file or folder that failed.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another process holds the lock.
    #[error("the store {path} is in use by process {holder}; stop that process or choose another storePathRootDir")]
    Claimed {
        /// The store's folder.
        path: PathBuf,
        /// The process id found in the lock file, `?` if it was not readable.
        holder: String,
    },
    /// The process that held the lock is not seen, and the lock is still held.
    #[error(
        "the store {path} is still held by process {holder}, which is not seen here: it has ended and its last writes are on their way to a disk that does not answer, or it runs in another container; look at the disk, or stop that process"
    )]
    Unfinished {
        /// The store's folder.
        path: PathBuf,
        /// The process id found in the lock file.
        holder: String,
    },
    /// Written by a program of another format.
    #[error(
        "the store {path} has format {found} but this ringmq reads formats up to {FORMAT}; use the ringmq that wrote it or choose another storePathRootDir"
    )]
    OtherFormat {
        /// The store's folder.
        path: PathBuf,
        /// The format found.
        found: u32,
    },
    /// The configuration asks for another number of shards than the store has.
    #[error(
        "the store {path} has {found} shards but the configuration asks for {wanted}; set shards={found} or choose another storePathRootDir"
    )]
    OtherShards {
        /// The store's folder.
        path: PathBuf,
        /// Shards of the store.
        found: u16,
        /// Shards of the configuration.
        wanted: u16,
    },
    /// The manifest is damaged.
    #[error("the store's manifest {path} has no valid `{key}`; restore the file `store` from a backup")]
    BadManifest {
        /// The manifest.
        path: PathBuf,
        /// The key that is missing or malformed.
        key: &'static str,
    },
    /// A shard, or its log.
    #[error(
        "{path} is missing, though it was made with the store: nothing was changed; mount or restore it, or, to give up for good what it held, make the empty folders {shard}/commitlog and {shard}/config"
    )]
    NoShard {
        /// The folder that is missing.
        path: PathBuf,
        /// The shard's folder.
        shard: PathBuf,
    },
    /// The topics, groups and positions of a shard.
    #[error(
        "{path} is missing, though it was made with the store: nothing was changed; restore the folder from a backup or from a slave, or, to begin without what it held, make it with `{{}}` in each of its tables and an empty file `epochs`"
    )]
    NoConfig {
        /// The folder of the tables.
        path: PathBuf,
    },
    /// The same store lies elsewhere as well.
    #[error(
        "the store {path} is a copy of {original}, which is still there: two nodes would answer for one; remove one of them, or, if the original will not be used again, the file {path}/place"
    )]
    Copy {
        /// The store's folder.
        path: PathBuf,
        /// Where it was copied from.
        original: PathBuf,
    },
    /// Shard folders without a manifest: part of a store, or not ours.
    #[error(
        "{path} holds shard folders but no manifest `store`; restore that file from a backup or choose another storePathRootDir"
    )]
    NoManifest {
        /// The store's folder.
        path: PathBuf,
    },
}

/// A claimed store. Dropping it gives the claim back.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    id: StoreId,
    shards: u16,
    manifest: FileIdentity,
    /// What was found of the folder of the tails.
    shelter: OnceLock<Result<(), Unfit>>,
    /// Holds the flock.
    lock: File,
}

/// Device and inode: two files are the same exactly if both are equal. A copy or a restored backup has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

impl FileIdentity {
    /// The identity of the file at `path`.
    ///
    /// # Errors
    /// What the kernel says about the path.
    pub(crate) fn of(path: &Path) -> io::Result<FileIdentity> {
        let meta = fs::metadata(path)?;
        Ok(FileIdentity { device: meta.dev(), inode: meta.ino() })
    }
}

/// How long a disk may take for the last writes of a process that was killed.
const LAST_WRITES_WITHIN: Duration = Duration::from_secs(30);
/// After so long that is said.
const LAST_WRITES_SAID_AFTER: Duration = Duration::from_secs(1);
const LOCK_TRIED_EVERY: Duration = Duration::from_millis(20);

/// Name of the manifest in the store's folder.
pub(crate) const MANIFEST: &str = "store";

/// Name of the file that says where the manifest was last.
const PLACE: &str = "place";

/// Folders of a shard. Those that hold what cannot be derived are never made in a store that is there.
const SHARD_FOLDERS: [&str; 3] = ["commitlog", "index", "config"];

impl Store {
    /// Claims the store at `root`, creating it if the folder is missing or empty.
    ///
    /// `shards` is what the configuration says, if it says anything; a new store then has that many or `shards_default`, and
    /// an old one must have that many.
    ///
    /// # Errors
    /// Every variant of [`StoreError`]; nothing is changed on disk unless the claim holds.
    pub fn open(root: &Path, shards: Option<u16>, shards_default: u16, now: UnixMs) -> Result<Store, StoreError> {
        files::make_folder(root).map_err(at(root))?;
        let root = root.canonicalize().map_err(at(root))?;
        let lock = claim(&root)?;
        let manifest = root.join(MANIFEST);
        if !manifest.exists() {
            if was_begun(&root) {
                return Err(StoreError::NoManifest { path: root });
            }
            create(&root, shards.unwrap_or(shards_default), now).map_err(at(&manifest))?;
        }
        let (Manifest { format, id, shards: found }, content) = read_manifest(&root)?;
        if let Some(wanted) = shards.filter(|wanted| *wanted != found) {
            return Err(StoreError::OtherShards { path: root, found, wanted });
        }
        for shard in 0..found {
            check_shard(&shard_folder(&root, ShardId(shard)))?;
        }
        let identity = FileIdentity::of(&manifest).map_err(at(&manifest))?;
        check_place(&root, identity, id)?;
        if format < FORMAT {
            // In place: the tail is known by the manifest's inode.
            let text = content.replacen(&format!("format={format}"), &format!("format={FORMAT}"), 1);
            overwrite_file(&manifest, sealed_text(&text).as_bytes()).map_err(at(&manifest))?;
        }
        let store = Store { root, id, shards: found, manifest: identity, shelter: OnceLock::new(), lock };
        for shard in 0..found {
            let folder = store.shard_folder(ShardId(shard));
            make_shard(&folder).map_err(at(&folder))?;
        }
        files::flush_folder(&store.root).map_err(at(&store.root))?;
        Ok(store)
    }

    /// Claims the store at `root` as [`Store::open`] does, without making or changing anything but its `lock`.
    ///
    /// # Errors
    /// Every variant of [`StoreError`] that [`Store::open`] would return.
    pub(crate) fn look(root: &Path) -> Result<Store, StoreError> {
        let root = root.canonicalize().map_err(at(root))?;
        if !root.join(MANIFEST).exists() && was_begun(&root) {
            return Err(StoreError::NoManifest { path: root });
        }
        let (Manifest { id, shards, .. }, _) = read_manifest(&root)?;
        let lock = claim(&root)?;
        let manifest = FileIdentity::of(&root.join(MANIFEST)).map_err(at(&root))?;
        find_original(&root, manifest, id)?;
        for shard in 0..shards {
            check_shard(&shard_folder(&root, ShardId(shard)))?;
        }
        Ok(Store { root, id, shards, manifest, shelter: OnceLock::new(), lock })
    }

    /// The folder, absolute and without links.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The store's random name.
    #[must_use]
    pub fn id(&self) -> StoreId {
        self.id
    }

    /// How many shards the store has.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// Which file the manifest is; differs in every copy of the store.
    #[must_use]
    pub(crate) fn manifest_identity(&self) -> FileIdentity {
        self.manifest
    }

    /// What was found of the folder of the tails; looked at once.
    pub(super) fn shelter(&self, look: impl FnOnce() -> Result<(), Unfit>) -> Result<(), Unfit> {
        self.shelter.get_or_init(look).clone()
    }

    /// Lets the claim last until the last write of this process has come to its end, or failed. From within the executor of a shard, before it writes.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn claim_for_writes(&self) -> io::Result<()> {
        super::uring::hold(&self.lock)
    }

    /// The folder of one shard.
    #[must_use]
    pub(crate) fn shard_folder(&self, shard: ShardId) -> PathBuf {
        shard_folder(&self.root, shard)
    }
}

fn shard_folder(root: &Path, shard: ShardId) -> PathBuf {
    root.join(format!("shard-{shard}"))
}

/// Writes `bytes` over a file in place, so that a disk without a free block takes them: for what fits the one block that the file has. Up to
/// a sector is written whole or not at all. What is missing or longer is replaced. Blocks.
///
/// # Errors
/// What the kernel says.
pub(crate) fn overwrite_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::OpenOptions::new().write(true).open(path) {
        Ok(file) if file.metadata()?.len() > 0 && bytes.len() <= DISK_BLOCK_BYTES => {
            std::os::unix::fs::FileExt::write_all_at(&file, bytes, 0)?;
            file.set_len(bytes.len() as u64)?;
            file.sync_data()
        }
        _ => files::replace(path, bytes),
    }
}

/// Reads a whole small file as text.
#[expect(clippy::disallowed_methods, reason = "disk is a shell: files are read here")]
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    fs::read_to_string(path)
}

/// 128 bits from the kernel's random source.
///
/// # Errors
/// What the kernel says about `/dev/urandom`.
#[expect(clippy::disallowed_methods, reason = "disk is a shell: the one random source of a store's name")]
pub(crate) fn random_id() -> io::Result<[u8; 16]> {
    let mut bytes = [0_u8; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::NotUsable { path, source }
}

/// Whoever wrote to it before has ended, and nothing of what it wrote is still on its way, when this returns.
fn claim(root: &Path) -> Result<File, StoreError> {
    let path = root.join("lock");
    let mut lock =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(at(&path))?;
    wait_for(&lock, root, &path)?;
    lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(at(&path))?;
    Ok(lock)
}

/// Takes the lock of the store at `root`. A process that was killed holds it until its last writes have come to their end; that long it is waited for.
#[expect(clippy::disallowed_methods, reason = "before any executor is made, and of tools that have none")]
pub(crate) fn wait_for(lock: &File, root: &Path, path: &Path) -> Result<(), StoreError> {
    let mut waited = Duration::ZERO;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(source)) => return Err(StoreError::NotUsable { path: path.to_owned(), source }),
            Err(TryLockError::WouldBlock) => {}
        }
        let holder = read_text(path).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let holder = holder.unwrap_or_else(|| "?".into());
        if is_used_by(&holder, &path.canonicalize().unwrap_or_else(|_| path.to_owned())) {
            return Err(StoreError::Claimed { path: root.to_owned(), holder });
        }
        if waited >= LAST_WRITES_WITHIN {
            return Err(StoreError::Unfinished { path: root.to_owned(), holder });
        }
        if waited == LAST_WRITES_SAID_AFTER {
            tracing::warn!(store = %root.display(), "waits for the last writes of process {holder}, which has ended, to come to the disk");
        }
        std::thread::sleep(LOCK_TRIED_EVERY);
        waited += LOCK_TRIED_EVERY;
    }
}

/// Whether a process with this id runs and has the file open, beside this one, which has it open to lock it. Not one that has ended and that nobody has
/// taken note of.
fn is_used_by(process: &str, path: &Path) -> bool {
    let own = usize::from(process.parse() == Ok(std::process::id()));
    let process = Path::new("/proc").join(process);
    let Ok(status) = read_text(&process.join("stat")) else { return false };
    let state = status.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    if matches!(state, Some('Z' | 'X')) {
        return false;
    }
    // Of another user's process it is not known.
    let Ok(open) = fs::read_dir(process.join("fd")) else { return true };
    let is_it = |entry: &fs::DirEntry| fs::read_link(entry.path()).is_ok_and(|file| file == path);
    open.flatten().filter(is_it).count() > own
}

/// Refuses a copy whose original is still there, and notes where this store lies now.
fn check_place(root: &Path, identity: FileIdentity, id: StoreId) -> Result<(), StoreError> {
    let file = root.join(PLACE);
    let here = place_text(root, identity);
    let noted = read_text(&file).unwrap_or_default();
    if noted == here {
        return Ok(());
    }
    if let Some(from) = find_original(root, identity, id)? {
        tracing::warn!(from = %from.display(), to = %root.display(), "the store was moved, copied or restored since it was last opened");
    }
    // A node must start on a full disk: what is not noted now is noted next time.
    if let Err(error) = files::replace(&file, here.as_bytes()) {
        tracing::warn!(path = %file.display(), %error, "where the store lies was not noted: a copy of it will not be told");
    }
    Ok(())
}

fn place_text(root: &Path, FileIdentity { device, inode }: FileIdentity) -> String {
    format!("device={device}\ninode={inode}\npath={}\n", root.display())
}

/// Where the store was when it was last opened, if that is known; refuses a copy whose original is still there.
fn find_original(root: &Path, identity: FileIdentity, id: StoreId) -> Result<Option<PathBuf>, StoreError> {
    let noted = read_text(&root.join(PLACE)).unwrap_or_default();
    let value = |key: &str| noted.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let number = |key: &str| value(key)?.parse().ok();
    let (Some(device), Some(inode), Some(path)) = (number("device"), number("inode"), value("path")) else {
        return Ok(None);
    };
    let (was, original) = (FileIdentity { device, inode }, PathBuf::from(path));
    let manifest = original.join(MANIFEST);
    let is_there = was != identity && FileIdentity::of(&manifest).is_ok_and(|found| found == was);
    if is_there && read_text(&manifest).is_ok_and(|text| text.contains(&format!("id={id}\n"))) {
        return Err(StoreError::Copy { path: root.to_owned(), original });
    }
    Ok(Some(original))
}

/// Whether a store was here: a start leaves more than the empty folders with which one begins.
fn was_begun(root: &Path) -> bool {
    fn holds_files(folder: &Path) -> bool {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).any(|path| !path.is_dir() || holds_files(&path))
    }
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let shards = entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"shard-"));
    root.join(PLACE).exists() || shards.into_iter().any(|shard| holds_files(&shard.path()))
}

/// Each shard of a store has its log and its tables: what is missing would begin anew without a word.
fn check_shard(folder: &Path) -> Result<(), StoreError> {
    let log = folder.join("commitlog");
    if let Some(path) = [folder, &log].into_iter().find(|path| !path.is_dir()) {
        return Err(StoreError::NoShard { path: path.to_owned(), shard: folder.to_owned() });
    }
    let path = folder.join("config");
    if path.is_dir() { Ok(()) } else { Err(StoreError::NoConfig { path }) }
}

fn make_shard(folder: &Path) -> io::Result<()> {
    for part in SHARD_FOLDERS.map(|part| folder.join(part)) {
        fs::create_dir_all(&part)?;
        // The process before may have been killed between a rename and the flush of the name: what is found is built upon.
        files::flush_folder(&part)?;
    }
    files::flush_folder(folder)
}

/// The manifest comes last: once it is there, all of the store was.
fn create(root: &Path, shards: u16, now: UnixMs) -> io::Result<()> {
    for shard in 0..shards {
        make_shard(&shard_folder(root, ShardId(shard)))?;
    }
    files::flush_folder(root)?;
    let id = StoreId(random_id()?);
    let text = format!("format={FORMAT}\nid={id}\nshards={shards}\ncreated_ms={now}\n");
    files::replace(&root.join(MANIFEST), sealed_text(&text).as_bytes())
}

struct Manifest {
    format: u32,
    id: StoreId,
    shards: u16,
}

/// What the manifest says, and its lines without the CRC.
fn read_manifest(root: &Path) -> Result<(Manifest, String), StoreError> {
    let path = root.join(MANIFEST);
    let bad = |key| StoreError::BadManifest { path: path.clone(), key };
    let mut text = match read_text(&path) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(bad("crc32")),
        text => text.map_err(at(&path))?,
    };
    let len = unsealed(text.as_bytes()).map_err(|_| bad("crc32"))?.len();
    text.truncate(len);
    let value = |key: &'static str| {
        text.lines()
            .filter_map(|line| line.split_once('='))
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value)
            .ok_or_else(|| bad(key))
    };
    let format: u32 = value("format")?.parse().map_err(|_| bad("format"))?;
    if !(1..=FORMAT).contains(&format) {
        return Err(StoreError::OtherFormat { path: root.to_owned(), found: format });
    }
    let id = parse_hex(value("id")?).ok_or_else(|| bad("id"))?;
    let shards: u16 = value("shards")?.parse().ok().filter(|n| *n > 0).ok_or_else(|| bad("shards"))?;
    Ok((Manifest { format, id: StoreId(id), shards }, text))
}

/// 32 hex digits, dashes ignored (the kernel writes its boot id with dashes).
pub(crate) fn parse_hex(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u8> = text
        .trim()
        .chars()
        .filter(|c| *c != '-')
        .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
        .collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
    if rest.is_empty() { bytes.try_into().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(root: &Path, shards: Option<u16>) -> Result<Store, StoreError> {
        Store::open(root, shards, 2, UnixMs(1))
    }

    #[test]
    fn an_older_store_is_made_a_newer_one_and_stays_the_same_file() {
        let root = tempfile::TempDir::new().expect("a temporary folder");
        let first = open(root.path(), None).expect("it is new");
        let (id, identity) = (first.id(), first.manifest_identity());
        drop(first);
        let path = root.path().join(MANIFEST);
        let text = read_text(&path).expect("it is there");
        let (older, _) = text.split_once("crc32").expect("an older one has none");
        overwrite_file(&path, older.replace("format=2", "format=1").as_bytes()).expect("it is writable");
        let again = open(root.path(), None).expect("it is older");
        assert_eq!((again.id(), again.manifest_identity()), (id, identity));
        assert_eq!(read_text(&path).expect("it is there"), text);
    }

    #[test]
    fn a_manifest_that_has_changed_is_refused() {
        let root = tempfile::TempDir::new().expect("a temporary folder");
        drop(open(root.path(), None).expect("it is new"));
        let path = root.path().join(MANIFEST);
        let text = read_text(&path).expect("it is there");
        overwrite_file(&path, text.replace("shards=2", "shards=1").as_bytes()).expect("it is writable");
        let refused = open(root.path(), None).expect_err("a shard would be forgotten").to_string();
        assert!(refused.contains("no valid `crc32`"), "{refused}");
    }

    #[test]
    fn a_store_keeps_its_id_and_its_shards() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let first = open(folder.path(), None).expect("a new store");
        let id = first.id();
        assert_eq!(first.shards(), 2);
        drop(first);
        let again = open(folder.path(), Some(2)).expect("the same store");
        assert_eq!(again.id(), id);
        assert!(again.shard_folder(ShardId(1)).join("commitlog").is_dir());
    }

    #[test]
    fn a_store_is_claimed_by_one_holder() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let _first = open(folder.path(), None).expect("a new store");
        let refused = open(folder.path(), None).expect_err("claimed").to_string();
        assert!(refused.contains(&format!("in use by process {}", std::process::id())), "{refused}");
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_to_do() {
        let check = |edit: &dyn Fn(&Path), shards: Option<u16>, expected: &str| {
            let folder = tempfile::tempdir().expect("a temp folder");
            drop(open(folder.path(), None).expect("a new store"));
            edit(folder.path());
            let refused = open(folder.path(), shards).expect_err(expected).to_string();
            assert!(refused.contains(expected), "{refused}");
        };
        let rewrite = |path: &Path, from: &str, to: &str| {
            let (_, text) = read_manifest(path).expect("a manifest");
            let text = sealed_text(&text.replace(from, to));
            files::replace(&path.join(MANIFEST), text.as_bytes()).expect("a writable folder");
        };
        check(&|_| {}, Some(3), "set shards=2 or choose another");
        check(
            &|path| rewrite(path, "format=2", "format=9"),
            None,
            "has format 9 but this ringmq reads formats up to 2",
        );
        check(&|path| rewrite(path, "id=", "id=zz"), None, "no valid `id`");
        check(&|path| rewrite(path, "shards=2", "shards=0"), None, "no valid `shards`");
        check(&|path| fs::remove_file(path.join(MANIFEST)).expect("a manifest"), None, "no manifest `store`");
    }

    #[test]
    fn a_copy_beside_its_original_is_refused_and_a_moved_store_is_not() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let [first, second, third] = ["first", "second", "third"].map(|name| folder.path().join(name));
        drop(open(&first, None).expect("a new store"));
        for shard in ["shard-0", "shard-1"] {
            make_shard(&second.join(shard)).expect("a folder");
        }
        for file in [MANIFEST, PLACE] {
            fs::copy(first.join(file), second.join(file)).expect("a copy");
        }
        let refused = open(&second, None).expect_err("the original is there").to_string();
        assert!(refused.contains("is a copy of") && refused.contains("first, which is still there"), "{refused}");
        drop(open(&first, None).expect("the original itself"));
        fs::rename(&first, &third).expect("moved");
        drop(open(&third, None).expect("it was moved"));
        drop(open(&second, None).expect("its original is gone"));
    }

    #[test]
    fn what_was_made_with_the_store_and_is_missing_is_refused_and_not_made() {
        let check = |part: &str, expected: &str| {
            let folder = tempfile::tempdir().expect("a temp folder");
            drop(open(folder.path(), None).expect("a new store"));
            let lost = folder.path().join(part);
            fs::remove_dir_all(&lost).expect("removed");
            let refused = open(folder.path(), None).expect_err(part).to_string();
            assert!(refused.contains(&format!("{part} is missing")) && refused.contains(expected), "{refused}");
            assert!(!lost.exists(), "{part} was made");
        };
        check("shard-1", "/shard-1/commitlog and ");
        check("shard-0/commitlog", "/shard-0/commitlog and ");
        check("shard-1/config", "in each of its tables");
        let folder = tempfile::tempdir().expect("a temp folder");
        drop(open(folder.path(), None).expect("a new store"));
        fs::remove_dir_all(folder.path().join("shard-0/index")).expect("removed");
        drop(open(folder.path(), None).expect("it is derived"));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test makes a file")]
    fn a_creation_that_was_cut_short_is_done_again_and_a_store_without_manifest_is_not() {
        let folder = tempfile::tempdir().expect("a temp folder");
        make_shard(&folder.path().join("shard-0")).expect("a folder");
        let store = open(folder.path(), None).expect("only empty folders are there");
        assert_eq!(store.shards(), 2);
        drop(store);
        let other = tempfile::tempdir().expect("a temp folder");
        make_shard(&other.path().join("shard-1")).expect("a folder");
        fs::write(other.path().join("shard-1/commitlog/00000000000000000000"), "x").expect("written");
        let refused = open(other.path(), None).expect_err("a shard has a file").to_string();
        assert!(refused.contains("no manifest `store`"), "{refused}");
    }

    #[test]
    fn a_folder_that_is_a_file_is_refused() {
        let file = tempfile::NamedTempFile::new().expect("a temp file");
        let refused = open(file.path(), None).expect_err("not a folder").to_string();
        assert!(refused.contains("point storePathRootDir to a folder"), "{refused}");
    }

    #[test]
    fn hex_of_ids() {
        let check = |text: &str, expected: Option<u8>| assert_eq!(parse_hex(text).map(|id| id[15]), expected, "{text}");
        check("000102030405060708090a0b0c0d0e0f", Some(15));
        check("00010203-0405-0607-0809-0a0b0c0d0e1f\n", Some(31));
        check("000102030405060708090a0b0c0d0e", None);
        check("000102030405060708090a0b0c0d0e0", None);
        check("g00102030405060708090a0b0c0d0e0f", None);
    }
}
