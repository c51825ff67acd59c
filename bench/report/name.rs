//! Names of files from names of subjects and loads.

use std::collections::BTreeSet;

/// Names that were given so far.
#[derive(Debug, Default)]
pub struct Names(BTreeSet<String>);

impl Names {
    /// `text` as a file's name that was not given before: `ringmq:2m-2s-sync` becomes `ringmq-2m-2s-sync`, the next one of that name
    /// `ringmq-2m-2s-sync-2`.
    pub fn unique(&mut self, text: &str) -> String {
        let stem = slug(text);
        let mut name = stem.clone();
        let mut number = 2;
        while !self.0.insert(name.clone()) {
            name = format!("{stem}-{number}");
            number += 1;
        }
        name
    }
}

/// Letters, digits and points of ASCII in small letters, all else as single dashes; at most 80.
pub fn slug(text: &str) -> String {
    let mut slug = String::new();
    for letter in text.chars().map(|letter| letter.to_ascii_lowercase()) {
        if letter.is_ascii_alphanumeric() || letter == '.' {
            slug.push(letter);
        } else if !slug.is_empty() && !slug.ends_with('-') && letter != ',' {
            slug.push('-');
        }
    }
    slug.truncate(80);
    let slug = slug.trim_matches(['-', '.']).to_owned();
    if slug.is_empty() { "results".to_owned() } else { slug }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_and_different() {
        let mut names = Names::default();
        let given: Vec<_> = ["ringmq:2m-2s-sync", "ringmq 2m/2s sync", "../..", "北京", "at 10,000 messages/s"]
            .map(|text| names.unique(text))
            .into();
        assert_eq!(given, ["ringmq-2m-2s-sync", "ringmq-2m-2s-sync-2", "results", "results-2", "at-10000-messages-s"]);
    }
}
