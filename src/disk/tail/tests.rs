//! The tail's file, its runs, and what is left of both.

use super::*;

const RING: usize = 64 * 1024;

fn store(root: &Path) -> Store {
    Store::open(root, Some(1), 1, UnixMs(1)).expect("a store")
}

fn key(store: &Store) -> TailKey {
    let run = LastRun::read(&store.shard_folder(ShardId(0))).expect("sound").run;
    TailKey::new(store, ShardId(0), RING, run).expect("a boot id")
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        let target = to.join(entry.file_name().expect("a name"));
        if entry.is_dir() {
            copy_folder(&entry, &target);
        } else {
            fs::copy(&entry, &target).expect("a copy");
        }
    }
}

#[test]
fn bytes_and_offset_outlive_the_mapping() {
    let (root, memory) = (tempfile::tempdir().expect("temp"), tempfile::tempdir().expect("temp"));
    let store = store(root.path());
    let mut tail = TailFile::open(memory.path(), &key(&store), &LastRun::default()).expect("a tail");
    assert_eq!(tail.found(), None);
    assert_eq!(tail.ring().len(), RING);
    tail.ring_mut()[..5].copy_from_slice(b"bytes");
    tail.publish(LogOffset(5));
    drop(tail);
    let tail = TailFile::open(memory.path(), &key(&store), &LastRun::default()).expect("the same tail");
    assert_eq!(tail.found(), Some(LogOffset(5)));
    assert_eq!(&tail.ring()[..5], b"bytes");
}

#[test]
fn a_copied_store_does_not_take_the_tail_from_its_original() {
    let (root, memory) = (tempfile::tempdir().expect("temp"), tempfile::tempdir().expect("temp"));
    let (first, second) = (root.path().join("first"), root.path().join("second"));
    let original = store(&first);
    TailFile::open(memory.path(), &key(&original), &LastRun::default()).expect("a tail").publish(LogOffset(9));
    copy_folder(&first, &second);
    fs::remove_file(second.join("place")).expect("an operator says that the copy is to be used");
    let copy = store(&second);
    assert_eq!(copy.id(), original.id(), "a copy has the same random name");
    assert_eq!(TailFile::open(memory.path(), &key(&copy), &LastRun::default()).expect("a tail").found(), None);
    drop((original, copy));
    fs::remove_file(memory.path().join(key(&store(&second)).file_name())).expect("the copy has begun one");

    // A copy that takes the original's place, made in the run whose tail it is, has the same log.
    fs::rename(&first, root.path().join("aside")).expect("a rename");
    fs::rename(&second, &first).expect("a rename");
    assert_eq!(
        TailFile::open(memory.path(), &key(&store(&first)), &LastRun::default()).expect("a tail").found(),
        Some(LogOffset(9))
    );
}

#[test]
fn a_backup_of_an_earlier_run_put_back_in_place_does_not_take_the_tail() {
    let (root, memory) = (tempfile::tempdir().expect("temp"), tempfile::tempdir().expect("temp"));
    let (folder, backup) = (root.path().join("store"), root.path().join("backup"));
    let run = |appended| {
        let store = store(&folder);
        let mut tail = TailFile::open(memory.path(), &key(&store), &LastRun::default()).expect("a tail");
        let found = tail.found();
        tail.run_starter(&store.shard_folder(ShardId(0)))
            .and_then(|run| run.start(LogOffset(0), 4096, &[], Moment::now(UnixMs(1))?))
            .expect("a new run");
        tail.publish(LogOffset(appended));
        found
    };
    assert_eq!(run(5), None);
    copy_folder(&folder, &backup);
    assert_eq!(run(6), Some(LogOffset(5)));
    // Written into the files that are there: device and inode stay.
    fs::copy(backup.join("store"), folder.join("store")).expect("a copy");
    fs::copy(backup.join("shard-0/run"), folder.join("shard-0/run")).expect("a copy");
    assert_eq!(run(7), None);
    assert_eq!(run(8), Some(LogOffset(7)));
}

#[test]
fn a_run_says_how_much_it_leaves_unflushed_and_an_older_one_does_not() {
    let check = |text: &str, expected: Option<Option<u64>>| {
        assert_eq!(LastRun::parse(text).map(|last| last.unflushed_max), expected, "{text}");
    };
    let id = "0".repeat(32);
    let began = Moment { boot: [3; 16], uptime_ms: 5_000, unix: UnixMs(1_700_000_000_000) };
    let files = vec!["topics.json".to_owned(), "epochs".to_owned()];
    let tails = Some(PathBuf::from("/dev/shm"));
    let last = LastRun {
        run: [7; 16],
        unflushed_max: Some(1 << 20),
        end: Some(LogOffset(7)),
        tails,
        files,
        began: Some(began),
    };
    let text = sector_text(&last.encode());
    assert_eq!(LastRun::parse(&text), Some(last.clone()));
    assert_eq!(LastRun::parse(&format!("{text}what a longer one has left")), Some(last));
    check(&text.replace("files=", "Files="), None);
    check(&format!("{id}\nunflushed_max=5\nclock={id},5,6\n06\n"), Some(Some(5)));
    let later = Moment { uptime_ms: 65_000, unix: UnixMs(0), ..began };
    assert_eq!(began.expected_at(&later), Some(UnixMs(1_700_000_060_000)));
    assert_eq!(began.expected_at(&Moment { boot: [4; 16], ..later }), None, "the machine was started anew");
    assert_eq!(parse_uptime_ms("350735.47 234388.90\n"), Some(350_735_470));
    check(&format!("{id}\n"), Some(None));
    check(&format!("{id}\nunflushed_max=x\n"), None);
    check(&format!("{id}\nsomething\n"), None);
    check("", None);
}

#[test]
fn a_run_is_written_as_one_sector_and_a_long_path_is_left_out() {
    let folder = tempfile::tempdir().expect("temp");
    let path = folder.path().join(RUN_FILE);
    for (name, is_kept) in [("/dev/shm".to_owned(), true), (format!("/{}", "x".repeat(600)), false)] {
        let tails = Some(PathBuf::from(&name));
        let last = LastRun { run: [7; 16], unflushed_max: Some(u64::MAX), tails, ..LastRun::default() };
        last.write(&path).expect("written");
        assert_eq!(fs::metadata(&path).expect("there").len(), SECTOR_BYTES as u64);
        let read = LastRun::read(folder.path()).expect("sound");
        assert_eq!((read.run, read.tails.is_some()), ([7; 16], is_kept), "{name}");
    }
    let refused = LastRun::read(&folder.path().join("none")).expect("there is none");
    assert_eq!(refused, LastRun::default());
}

#[test]
fn a_tail_of_another_run_is_not_taken() {
    let check = |edit: &dyn Fn(&mut TailKey)| {
        let (root, memory) = (tempfile::tempdir().expect("temp"), tempfile::tempdir().expect("temp"));
        let store = store(root.path());
        let right = key(&store);
        let mut wrong = right.clone();
        edit(&mut wrong);
        let mut bytes = wrong.encode();
        bytes[APPENDED_AT..APPENDED_AT + 8].copy_from_slice(&7_u64.to_le_bytes());
        bytes.resize(HEAD_BYTES + wrong.ring_bytes, 0);
        fs::File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .open(memory.path().join(right.file_name()))
            .and_then(|mut file| io::Write::write_all(&mut file, &bytes))
            .expect("a file");
        TailFile::open(memory.path(), &right, &LastRun::default()).expect("a tail").found()
    };
    assert_eq!(check(&|_| {}), Some(LogOffset(7)));
    assert_eq!(check(&|key| key.store.0[3] ^= 1), None);
    assert_eq!(check(&|key| key.boot[3] ^= 1), None);
    assert_eq!(check(&|key| key.shard.0 ^= 1), None);
    assert_eq!(check(&|key| key.ring_bytes *= 2), Some(LogOffset(7)), "tailSize may change");
    assert_eq!(check(&|key| key.ring_bytes += 1), None);
    assert_eq!(check(&|key| key.run[3] ^= 1), None);
    // A move that was broken off between the new name and the new place in the head.
    assert_eq!(check(&|key| key.manifest.inode ^= 1), Some(LogOffset(7)));
    assert_eq!(check(&|key| key.root.push("x")), Some(LogOffset(7)), "a store may be moved");
}

#[test]
fn a_tail_with_more_than_its_store_knows_of_stays_beside_the_new_one() {
    let (root, memory) = (tempfile::tempdir().expect("temp"), tempfile::tempdir().expect("temp"));
    let store = store(root.path());
    let own = key(&store);
    let other = TailKey { run: [9; 16], ..own.clone() };
    TailFile::open(memory.path(), &other, &LastRun::default()).expect("a tail").publish(LogOffset(7));
    // All of it was in the segments when the last run began.
    let behind = LastRun { end: Some(LogOffset(8)), ..LastRun::default() };
    let looked = TailFile::look(memory.path(), &own, &behind, false).expect("readable");
    assert!(looked.is_none());
    let last = LastRun { end: Some(LogOffset(6)), ..LastRun::default() };
    assert_eq!(TailFile::open(memory.path(), &own, &last).expect("a tail").found(), None);
    let names = fs::read_dir(memory.path()).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    assert!(names.len() == 2 && names[0].ends_with(&format!(".of-{}", "09".repeat(16))), "{names:?}");
}

/// At each step of an orderly end the process may be killed: a start then takes a tail with all that the log has, or misses none.
#[test]
fn a_run_that_ended_in_order_leaves_no_tail_that_is_missed() {
    let (root, memory) = (tempfile::tempdir().expect("temp"), tempfile::tempdir().expect("temp"));
    let store = store(root.path());
    let folder = store.shard_folder(ShardId(0));
    let mut tail = TailFile::open(memory.path(), &key(&store), &LastRun::default()).expect("a tail");
    let began = Moment::now(UnixMs(1)).expect("a moment");
    tail.run_starter(&folder).and_then(|run| run.start(LogOffset(0), 4096, &[], began)).expect("a run begins");
    tail.publish(LogOffset(5));
    let (path, gone) = (tail.path().to_owned(), path_aside(tail.path()));
    drop(tail);
    let last = || LastRun::read(&folder).expect("sound");
    fs::rename(&path, &gone).expect("one file system");
    assert!(last().tail_is_gone(&key(&store)).is_some(), "nobody has ended the run");
    fs::rename(&gone, &path).expect("one file system");

    // Killed when only the first step is done.
    let said = LastRun { tails: None, end: Some(LogOffset(5)), ..last() };
    said.write(&folder.join(RUN_FILE)).expect("written");
    let tail = TailFile::open(memory.path(), &key(&store), &LastRun::default()).expect("the same tail");
    assert_eq!((tail.found(), last().tail_is_gone(&key(&store))), (Some(LogOffset(5)), None));
    drop(tail);

    LastRun::finish(&folder, memory.path(), &key(&store), LogOffset(5)).expect("it ends");
    assert_eq!(fs::read_dir(memory.path()).expect("a folder").count(), 0, "it is removed");
    assert_eq!((last().tail_is_gone(&key(&store)), last().end, last().run), (None, Some(LogOffset(5)), said.run));
    let tail = TailFile::open(memory.path(), &key(&store), &LastRun::default()).expect("a new tail");
    assert_eq!(tail.found(), None);
    drop(tail);
    // Nobody is harmed by a second end.
    LastRun::finish(&folder, memory.path(), &key(&store), LogOffset(5)).expect("it has ended");
}

fn path_aside(path: &Path) -> PathBuf {
    path.with_extension("aside")
}

/// Files in a folder of tails.
fn count(memory: &tempfile::TempDir) -> usize {
    fs::read_dir(memory.path()).expect("a folder").count()
}

/// The tail of a store that was renamed after a kill was written anew by its own next start, and removed by that of any other store.
#[test]
fn a_tail_stays_wherever_its_store_is_moved_to() {
    let (root, memory) = (tempfile::tempdir().expect("temp"), tempfile::tempdir().expect("temp"));
    let (first, second) = (root.path().join("first"), root.path().join("second"));
    let mut before = key(&store(&first));
    TailFile::open(memory.path(), &before, &LastRun::default()).expect("a tail").publish(LogOffset(5));
    for (place, is_copy) in [(second.clone(), false), (first.clone(), true), (second, false)] {
        if is_copy {
            let FileIdentity { device, inode } = before.manifest;
            let copy = TailKey { manifest: FileIdentity { device, inode: inode ^ 1 }, ..before.clone() };
            assert!(!TailFile::is_there(memory.path(), &copy), "its store is where it was");
            copy_folder(&before.root, &place);
            fs::remove_dir_all(&before.root).expect("removed");
        } else {
            fs::rename(&before.root, &place).expect("one file system");
        }
        name_left_over(memory.path());
        let key = key(&store(&place));
        assert!(TailFile::is_there(memory.path(), &key));
        let looked = TailFile::look(memory.path(), &key, &LastRun::default(), false).expect("readable");
        assert_eq!(looked.map(|tail| tail.appended), Some(LogOffset(5)));
        assert_eq!(
            TailFile::open(memory.path(), &key, &LastRun::default()).expect("the same tail").found(),
            Some(LogOffset(5))
        );
        let head = read_head(
            &mut OpenOptions::new().read(true).open(memory.path().join(key.file_name())).expect("it is there"),
        );
        assert_eq!(head.expect("readable").expect("a head").key, key, "it says where its store is now");
        before = key;
    }
    assert_eq!(count(&memory), 1);
}

#[test]
fn only_tails_without_a_byte_are_removed_with_their_stores() {
    let (root, memory) = (tempfile::tempdir().expect("temp"), tempfile::tempdir().expect("temp"));
    let (first, second) = (root.path().join("first"), root.path().join("second"));
    let with = key(&store(&first));
    TailFile::open(memory.path(), &with, &LastRun::default()).expect("a tail").publish(LogOffset(5));
    let without = TailFile::open(memory.path(), &key(&store(&second)), &LastRun::default()).expect("a tail");
    name_left_over(memory.path());
    assert_eq!(count(&memory), 2, "both stores are there");
    fs::remove_dir_all(&first).and_then(|()| fs::remove_dir_all(&second)).expect("removed");
    name_left_over(memory.path());
    assert_eq!(count(&memory), 2, "one is in use, and one has what was acknowledged");
    drop(without);
    name_left_over(memory.path());
    assert_eq!(count(&memory), 1);
    assert!(TailFile::is_there(memory.path(), &with));
}

/// Three thousand acknowledged messages went when another node was started while the disk of the first was away.
#[test]
fn a_disk_that_is_away_is_no_store_that_is_gone() {
    let (root, memory) = (tempfile::tempdir().expect("temp"), tempfile::tempdir().expect("temp"));
    let away = root.path().join("away");
    let mut key = key(&store(&away));
    key.manifest.device ^= 1;
    drop(TailFile::open(memory.path(), &key, &LastRun::default()).expect("a tail"));
    for folder in [away.as_path(), root.path()] {
        name_left_over(memory.path());
        assert_eq!(count(&memory), 1);
        fs::remove_dir_all(folder).expect("removed");
    }
    name_left_over(memory.path());
    assert_eq!(count(&memory), 1, "nor is there where it was mounted");
}

/// A look that locked each tail kept one from its own store's next process, which then began without it.
#[test]
fn a_look_never_locks_the_tail_of_a_store_that_is_there() {
    let (root, memory) = (tempfile::tempdir().expect("temp"), tempfile::tempdir().expect("temp"));
    let store = store(root.path());
    let key = key(&store);
    TailFile::open(memory.path(), &key, &LastRun::default()).expect("a tail").publish(LogOffset(5));
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                name_left_over(memory.path());
            }
        });
        let found =
            (0..2000).map(|_| TailFile::open(memory.path(), &key, &LastRun::default()).map(|tail| tail.found()));
        let failed = found.filter(|found| !matches!(found, Ok(Some(LogOffset(5))))).count();
        stop.store(true, Ordering::Relaxed);
        assert_eq!(failed, 0, "of 2000 tails");
    });
}

#[test]
fn a_tail_that_cannot_be_had_is_no_reason_to_begin_without_it() {
    let (root, memory) = (tempfile::tempdir().expect("temp"), tempfile::tempdir().expect("temp"));
    let store = store(root.path());
    let key = key(&store);
    let held = TailFile::open(memory.path(), &key, &LastRun::default()).expect("a tail");
    assert!(matches!(TailFile::open(memory.path(), &key, &LastRun::default()), Err(TailError::InUse { .. })));
    let path = held.path().to_owned();
    drop(held);
    fs::remove_file(&path).and_then(|()| fs::create_dir(&path)).expect("something that is no tail");
    assert!(matches!(TailFile::open(memory.path(), &key, &LastRun::default()), Err(TailError::Unreadable { .. })));
}

#[test]
fn a_new_tail_goes_with_a_start_that_fails_and_stays_with_a_run() {
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let (store, tails) = (store(&folder.path().join("store")), folder.path().join("tails"));
    fs::create_dir(&tails).expect("the folder is writable");
    let is_there = || TailFile::is_there(&tails, &key(&store));
    let open = |last: &LastRun| {
        let mut tail = TailFile::open(&tails, &key(&store), &LastRun::default()).expect("it can be made");
        tail.go_without_run(last);
        let starter = tail.run_starter(folder.path()).expect("a descriptor");
        (tail, starter)
    };
    drop(open(&LastRun::default()));
    assert!(!is_there(), "nothing began");
    let (tail, starter) = open(&LastRun::default());
    let now = Moment::now(UnixMs(0)).expect("the kernel says it");
    starter.start(LogOffset(0), 0, &[], now).expect("the folder is writable");
    drop(tail);
    assert!(is_there(), "a run goes by it");
    fs::remove_file(tails.join(key(&store).file_name())).expect("it is there");
    drop(open(&LastRun { tails: Some(tails.clone()), ..LastRun::default() }));
    assert!(is_there(), "the last run's was lost, which is said once");
}

#[test]
fn a_folder_without_room_is_an_error_and_leaves_nothing() {
    let root = tempfile::tempdir().expect("temp");
    let store = store(root.path());
    let missing = root.path().join("missing");
    assert!(matches!(TailFile::open(&missing, &key(&store), &LastRun::default()), Err(TailError::Io { .. })));
}
