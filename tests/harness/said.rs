//! What others say: the output of a tool, the outcomes of a stock client.

use ringmq_peers::Outcome;

#[track_caller]
pub fn expect(output: &str, text: &str) {
    assert!(output.contains(text), "{text:?} is not in:\n{output}");
}

/// A line must begin with these words, whatever the spaces between them.
#[track_caller]
pub fn expect_row(output: &str, words: &[&str]) {
    let found = output.lines().any(|line| {
        let mut line_words = line.split_whitespace();
        words.iter().all(|&word| line_words.next() == Some(word))
    });
    assert!(found, "no line {words:?} in:\n{output}");
}

/// Fails with all scenarios of `client` that did not pass.
#[track_caller]
pub fn expect_passed(client: &str, outcomes: &[Outcome]) {
    let failed: Vec<String> = outcomes
        .iter()
        .filter(|outcome| !outcome.passed)
        .map(|outcome| format!("{}: {}", outcome.scenario, outcome.error.as_deref().unwrap_or_default()))
        .collect();
    assert!(failed.is_empty(), "{} of {client} failed:\n{}", failed.len(), failed.join("\n"));
}
