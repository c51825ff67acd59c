//! The words of a Rust source file, without comments and literals, each with its line and whether it belongs to a unit test.
//!
//! This is no parser: a rule looks for short sequences of words. What a macro makes up is not seen.

use std::iter::Peekable;
use std::str::CharIndices;

/// A name, a number, `::`, or one other character.
#[derive(Clone, Debug)]
pub(crate) struct Word {
    pub(crate) text: String,
    pub(crate) line: usize,
    pub(crate) in_test: bool,
}

/// One file; `path` is from the root of the workspace.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) words: Vec<Word>,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Source {
        let mut words = words(text);
        let stem = path.trim_end_matches(".rs");
        let is_test = stem.starts_with("src/") && stem.split('/').any(|part| part == "tests" || part == "golden");
        for index in 0..words.len() {
            words[index].in_test |= is_test;
            if begins(&words[index..], &["#", "[", "cfg", "(", "test", ")", "]"]) {
                let end = item_end(&words, index + 7);
                words[index..end].iter_mut().for_each(|word| word.in_test = true);
            }
        }
        Source { path: path.to_owned(), words }
    }

    /// The folder below `src/`, or the file that stands for one.
    pub(crate) fn folder(&self) -> Option<&str> {
        let below = self.path.strip_prefix("src/")?;
        Some(below.split('/').next().unwrap_or(below).trim_end_matches(".rs"))
    }
}

/// Whether `words` begin with `texts`.
pub(crate) fn begins(words: &[Word], texts: &[&str]) -> bool {
    words.len() >= texts.len() && words.iter().zip(texts).all(|(word, text)| word.text == *text)
}

/// One past the item that begins at `from`, its attributes included: its `;`, or the end of its braces.
pub(crate) fn item_end(words: &[Word], from: usize) -> usize {
    let mut depth = 0_usize;
    for (index, word) in words.iter().enumerate().skip(from) {
        match word.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" if depth == 1 => return index + 1,
            "}" | ")" | "]" => depth = depth.saturating_sub(1),
            ";" if depth == 0 => return index + 1,
            _ => {}
        }
    }
    words.len()
}

fn words(text: &str) -> Vec<Word> {
    let mut found = Vec::new();
    let mut line = 1;
    let mut counted = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, first)) = chars.next() {
        line += text[counted..at].matches('\n').count();
        counted = at;
        let next = chars.peek().map(|&(_, next)| next);
        let mut say = |text: String| found.push(Word { text, line, in_test: false });
        match first {
            '/' if next == Some('/') => skip_while(&mut chars, |c| c != '\n'),
            '/' if next == Some('*') => skip_comment(&mut chars),
            '"' => skip_string(&mut chars),
            '\'' => skip_quote(&mut chars),
            ':' if next == Some(':') => {
                chars.next();
                say("::".to_owned());
            }
            _ if first.is_alphanumeric() || first == '_' => {
                skip_while(&mut chars, |c| c.is_alphanumeric() || c == '_');
                let end = chars.peek().map_or(text.len(), |&(end, _)| end);
                let word = &text[at..end];
                let is_prefix = matches!(word, "r" | "b" | "br" | "c" | "cr");
                if !(is_prefix && word.contains('r') && skip_raw(&text[end..], &mut chars)) {
                    say(word.to_owned());
                }
            }
            _ if first.is_whitespace() => {}
            _ => say(first.to_string()),
        }
    }
    found
}

type Chars<'a> = Peekable<CharIndices<'a>>;

fn skip_while(chars: &mut Chars<'_>, is_part: impl Fn(char) -> bool) {
    while chars.next_if(|&(_, c)| is_part(c)).is_some() {}
}

/// From behind the `/` of `/*`; such comments may be nested.
fn skip_comment(chars: &mut Chars<'_>) {
    let mut depth = 0_usize;
    while let Some((_, c)) = chars.next() {
        if c == '*' && chars.next_if(|&(_, c)| c == '/').is_some() {
            depth -= 1;
        } else if (c == '*' && depth == 0) || (c == '/' && chars.next_if(|&(_, c)| c == '*').is_some()) {
            depth += 1;
        }
        if depth == 0 {
            return;
        }
    }
}

fn skip_string(chars: &mut Chars<'_>) {
    while let Some((_, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '"' => return,
            _ => {}
        }
    }
}

/// A raw string, if `rest`, behind its `r`, is one.
fn skip_raw(rest: &str, chars: &mut Chars<'_>) -> bool {
    let hashes = rest.chars().take_while(|&c| c == '#').count();
    if !rest[hashes..].starts_with('"') {
        return false;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let size = rest[hashes + 1..].find(&end).map_or(rest.len(), |at| hashes + 1 + at + end.len());
    let until = chars.peek().map_or(0, |&(at, _)| at) + size;
    while chars.next_if(|&(at, _)| at < until).is_some() {}
    true
}

/// A character or a lifetime, from behind its `'`.
fn skip_quote(chars: &mut Chars<'_>) {
    let Some((_, first)) = chars.next() else { return };
    if first == '\\' {
        chars.next();
        skip_while(chars, |c| c != '\'');
        chars.next();
    } else if chars.next_if(|&(_, c)| c == '\'').is_none() {
        skip_while(chars, |c| c.is_alphanumeric() || c == '_');
    }
}

#[test]
fn comments_literals_and_tests_are_told_apart() {
    let text = concat!(
        "/* a /* b */ c */ fn d<'e>() { 'f'; '\\''; \"g\\\"\"; r#\"h\"#; b\"i\" } // j\n",
        "#[cfg(test)]\nmod k { fn l() {} }\nuse m::n;"
    );
    let source = Source::new("src/a.rs", text);
    let names = |in_test| {
        let of = source.words.iter().filter(move |word| word.in_test == in_test && word.text.len() < 4);
        of.map(|word| word.text.as_str()).filter(|text| text.chars().all(char::is_alphanumeric)).collect::<Vec<_>>()
    };
    assert_eq!(names(false), ["fn", "d", "b", "use", "m", "n"]);
    assert_eq!(names(true), ["cfg", "mod", "k", "fn", "l"]);
    assert_eq!(source.words.last().map(|word| word.line), Some(4));
}
