//! What the built program says of itself and of a wrong command line, as a person and as a program hear it. No broker is needed.
#![allow(clippy::disallowed_methods, reason = "a test starts processes")]

use std::process::{Command, Output};

use serde_json::Value;

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq-admin"));
    command.args(arguments).env_remove("NAMESRV_ADDR").stdin(std::process::Stdio::null());
    let Output { status, stdout, stderr } = command.output().expect("it was just built");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (status.code(), text(&stdout), text(&stderr))
}

/// Nobody listens there.
const NOBODY: &str = "127.0.0.1:1";

#[test]
fn an_error_is_a_sentence_or_an_object() {
    for (arguments, code, kind, words) in [
        (&["-n", NOBODY, "topic", "list"][..], 1, "no_name_server", "start one, or name another with -n HOST:PORT"),
        (&["-n", "a:b", "topic", "list"], 1, "usage", "\"a:b\" is no address of a name server"),
        (&["topic", "lst"], 2, "usage", "unrecognized subcommand 'lst'"),
        (&["send", "-t", "T"], 2, "usage", "required arguments were not provided"),
        (&["group", "progress"], 2, "usage", "--group <GROUP>"),
        (&["send", "-t", "T", "-b", "x", "--delay-level", "19"], 2, "usage", "19 is not in 1..=18"),
        (&["topic", "delete", "-t", "T", "--yes", "--dry-run"], 2, "usage", "cannot be used with"),
        (&["config", "set", "k", "v", "-n", NOBODY], 1, "no_name_server", "no name server answers"),
        (&["config", "set", "-k", "k", "-v", "-1", "-n", NOBODY], 1, "no_name_server", "no name server answers"),
        (&["config", "set", "k"], 2, "usage", "required arguments were not provided"),
        (&["config", "set", "k", "v", "-k", "k"], 2, "usage", "cannot be used with"),
    ] {
        let (found, stdout, stderr) = run(arguments);
        assert_eq!((found, stdout.as_str()), (Some(code), ""), "{arguments:?}: {stderr}");
        assert!(stderr.contains(words), "{arguments:?}: {stderr}");
        let (found, stdout, stderr) = run(&[&["--json"], arguments].concat());
        assert_eq!((found, stdout.as_str()), (Some(code), ""), "{arguments:?}: {stderr}");
        let object: Value = serde_json::from_str(&stderr).unwrap_or_else(|error| panic!("{error}: {stderr}"));
        assert_eq!((&object["kind"], &object["code"]), (&kind.into(), &Value::Null), "{object}");
        assert!(object["error"].as_str().is_some_and(|sentence| sentence.contains(words)), "{object}");
    }
}

#[test]
fn a_guess_at_a_misspelt_word_is_one_of_the_words_that_help_shows() {
    for misspelt in ["topicLst", "updateTopc", "consumerProgres"] {
        let (code, _, said) = run(&[misspelt]);
        assert_eq!(code, Some(2), "{said}");
        for hidden in ["topicList", "updateTopic", "consumerProgress"] {
            assert!(!said.contains(&format!("'{hidden}'")), "{said}");
        }
    }
    // They are understood all the same.
    let (code, _, said) = run(&["topicList", "-n", NOBODY]);
    assert!(code == Some(1) && said.contains("no name server answers"), "{said}");
}

#[test]
fn the_version_says_of_which_commit_it_is() {
    let (code, said, _) = run(&["--version"]);
    let version = concat!("ringmq-admin ", env!("CARGO_PKG_VERSION"), " (");
    assert!(code == Some(0) && said.starts_with(version) && said.trim_end().ends_with(')'), "{said}");
}
