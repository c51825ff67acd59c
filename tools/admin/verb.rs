//! `mqadmin`'s verbs, in our words. They are no names of ours: neither help nor a guess at a misspelt word offers them.

use std::ffi::OsString;

const VERBS: [(&str, &[&str]); 15] = [
    ("topicList", &["topic", "list"]),
    ("updateTopic", &["topic", "create"]),
    ("deleteTopic", &["topic", "delete"]),
    ("topicRoute", &["topic", "route"]),
    ("topicStatus", &["topic", "status"]),
    ("clusterList", &["cluster", "list"]),
    ("updateSubGroup", &["group", "create"]),
    ("deleteSubGroup", &["group", "delete"]),
    ("consumerProgress", &["group", "progress"]),
    ("resetOffsetByTime", &["offset", "reset"]),
    ("queryMsgById", &["message", "get"]),
    ("queryMsgByKey", &["message", "find"]),
    ("getBrokerConfig", &["config", "get"]),
    ("sendMessage", &["send"]),
    ("consumeMessage", &["consume"]),
];

/// The options before the verb that have a value of their own.
const WITH_VALUE: [&str; 2] = ["-n", "--namesrv"];

/// The command line, with the verb in our words.
pub(crate) fn own_words(line: Vec<OsString>) -> Vec<OsString> {
    let mut at = 1;
    while let Some(word) = line.get(at).and_then(|word| word.to_str()) {
        if WITH_VALUE.contains(&word) {
            at += 2;
        } else if word.starts_with('-') {
            at += 1;
        } else {
            break;
        }
    }
    let verb = line.get(at).and_then(|word| VERBS.iter().find(|(verb, _)| word == verb));
    let Some((_, words)) = verb else { return line };
    let (before, after) = line.split_at(at);
    before.iter().cloned().chain(words.iter().map(OsString::from)).chain(after.iter().skip(1).cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verb_of_mqadmin_is_ours_where_the_verb_stands() {
        let check = |line: &str, expected: &str| {
            let words = own_words(line.split(' ').map(OsString::from).collect());
            let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
            assert_eq!(words.join(" "), expected, "{line}");
        };
        check("a topicList -c C", "a topic list -c C");
        check("a -n topicList --json topicRoute -t topicRoute", "a -n topicList --json topic route -t topicRoute");
        check("a -nx:1 sendMessage -t T -p x", "a -nx:1 send -t T -p x");
        check("a topic list", "a topic list");
        check("a", "a");
    }
}
