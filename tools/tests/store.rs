//! `ringmq-admin store` is `ringmq store` of the program beside it, or else on the PATH; a script stands for that here.
//!
//! What `ringmq store` does is in `tests/damage.rs` of the broker.
#![allow(clippy::disallowed_methods, reason = "a test has files")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A `ringmq` that says its name and its arguments, and ends with a code of its own.
fn put_ringmq(folder: &Path, mode: u32) {
    let path = folder.join("ringmq");
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&path, "#!/bin/sh\necho \"$0\" \"$@\"\nexit 7\n"))
        .expect("ours");
    fs::set_permissions(&path, Permissions::from_mode(mode)).expect("ours");
}

fn run(admin: &Path, path: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } =
        Command::new(admin).env("PATH", path).args(arguments).output().expect("it runs");
    (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

/// One test, one thread: a script that another thread's child still has open for writing cannot be started.
#[test]
fn arguments_and_exit_code_are_passed_and_a_missing_program_is_named() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("store");
    let (own, path) = (folder.join("own"), folder.join("path"));
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("of the run before");
    }
    fs::create_dir_all(&own).expect("a folder of the build");
    let admin = own.join("ringmq-admin");
    fs::hard_link(env!("CARGO_BIN_EXE_ringmq-admin"), &admin).expect("in one file system");

    let (code, said) = run(&admin, &path, &["store", "check", "S"]);
    assert_eq!(code, Some(1), "{said}");
    let sentence = format!("ringmq-admin: there is no `ringmq` in {} or on the PATH, ", own.display());
    assert!(said.starts_with(&sentence) && said.trim_end().lines().count() == 1, "{said}");

    put_ringmq(&path, 0o755);
    let of = |folder: &Path, arguments: &str| (Some(7), format!("{}/ringmq {arguments}\n", folder.display()));
    assert_eq!(run(&admin, &path, &["store", "check", "S"]), of(&path, "store check S"));

    put_ringmq(&own, 0o755);
    for (given, passed) in [
        (&["store", "repair", "S", "--cut", "--yes"][..], "store repair S --cut --yes"),
        (&["store", "check", "S", "--json"], "store check S --json"),
        (&["--json", "store", "check", "--", "S"], "store --json check -- S"),
        (&["store", "--json", "check", "S"], "store --json check S"),
        (&["-n", "localhost:1", "store", "check", "S"], "store check S"),
        (&["store", "check", "--help"], "store check --help"),
        (&["store", "--help"], "store --help"),
        (&["store"], "store"),
    ] {
        assert_eq!(run(&admin, &path, given), of(&own, passed), "{given:?}");
    }

    put_ringmq(&own, 0o644);
    let (code, said) = run(&admin, &path, &["store", "check", "S"]);
    assert!(code == Some(1) && said.contains("own/ringmq cannot be started: "), "{said}");
}
