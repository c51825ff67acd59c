//! Java's properties syntax, with the line of each entry kept for error messages.
//!
//! Source: the documented format of `java.util.Properties.load`. Two deliberate differences: the text is UTF-8, and blanks
//! around a value are dropped, as RocketMQ itself does before it reads a value.

use super::{ConfigError, Fault};

/// One `key = value` of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// Where the entry begins, from 1.
    pub line: usize,
    /// Unescaped.
    pub key: String,
    /// Unescaped and trimmed.
    pub value: String,
}

/// Reads a whole file; `file` is its name, for error messages only. The same key twice is refused unless both values agree.
///
/// # Errors
/// [`Fault::BadEscape`] and [`Fault::SetTwice`], with the line.
pub fn parse(file: &str, text: &str) -> Result<Vec<Property>, ConfigError> {
    let mut entries: Vec<Property> = Vec::new();
    for (line, logical) in logical_lines(text) {
        let at = |fault| ConfigError::new(file, Some(line), fault);
        let (raw_key, raw_value) = split_key(&logical);
        let key = unescape(raw_key).ok_or_else(|| at(Fault::BadEscape))?;
        let value = unescape(raw_value).ok_or_else(|| at(Fault::BadEscape))?.trim().to_owned();
        if let Some(earlier) = entries.iter().find(|e| e.key == key) {
            if earlier.value != value {
                return Err(at(Fault::SetTwice { key, earlier: earlier.line }));
            }
            continue;
        }
        entries.push(Property { line, key, value });
    }
    Ok(entries)
}

/// The same file with other values; everything else stays as it is. A key that is not set yet is put below the line that shows its default
/// commented out, or at the end.
#[must_use]
pub fn set(text: &str, changes: &[Property]) -> String {
    let ending = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let written = |change: &Property| format!("{}={}{ending}", change.key, change.value.replace('\\', "\\\\"));
    let mut lines: Vec<String> = Vec::new();
    let mut set_already: Vec<&str> = Vec::new();
    let mut naturals = text.split_inclusive('\n').map(str::to_owned).peekable();
    while let Some(mut whole) = naturals.next() {
        while is_continued(&whole) && naturals.peek().is_some() {
            whole.extend(naturals.next());
        }
        let key = logical_lines(&whole).first().and_then(|(_, logical)| unescape(split_key(logical).0));
        match changes.iter().find(|change| Some(&change.key) == key.as_ref()) {
            Some(change) => {
                set_already.push(&change.key);
                lines.push(written(change));
            }
            None => lines.push(whole),
        }
    }
    for change in changes.iter().filter(|change| !set_already.contains(&change.key.as_str())) {
        let shown = format!("{}=", change.key);
        let is_shown = |line: &String| {
            line.trim_start().strip_prefix('#').is_some_and(|rest| rest.trim_start().starts_with(&shown))
        };
        if let Some(last) = lines.last_mut().filter(|last| !last.ends_with('\n')) {
            last.push_str(ending);
        }
        // The last line may end in a backslash, after which the next one would belong to it.
        let end = lines.len() - usize::from(lines.last().is_some_and(|last| is_continued(last)));
        let place = lines.iter().rposition(is_shown).map_or(end, |place| place.saturating_add(1));
        lines.insert(place, written(change));
    }
    lines.concat()
}

/// Whether what begins with this text goes on in the next line.
fn is_continued(text: &str) -> bool {
    let is_comment = text.lines().next().is_none_or(|first| {
        let first = first.trim_start();
        first.is_empty() || first.starts_with(['#', '!'])
    });
    let end = text.trim_end_matches(['\n', '\r']);
    !is_comment && end.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1
}

/// Lines without comments and blanks, continued ones joined. A comment cannot be continued.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut pending: Option<(usize, String)> = None;
    for (index, natural) in text.lines().enumerate() {
        let trimmed = natural.trim_start();
        if pending.is_none() && (trimmed.is_empty() || trimmed.starts_with(['#', '!'])) {
            continue;
        }
        let backslashes = trimmed.chars().rev().take_while(|c| *c == '\\').count();
        let continued = backslashes % 2 == 1;
        let content = if continued { trimmed.strip_suffix('\\').unwrap_or(trimmed) } else { trimmed };
        let (line, mut logical) = pending.take().unwrap_or((index.saturating_add(1), String::new()));
        logical.push_str(content);
        if continued {
            pending = Some((line, logical));
        } else {
            lines.push((line, logical));
        }
    }
    lines.extend(pending);
    lines
}

/// The key ends at the first `=`, `:` or blank that is not escaped; one separator and the blanks around it are dropped.
fn split_key(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.find(|c: char| {
        let ends = !escaped && (c == '=' || c == ':' || c.is_ascii_whitespace());
        escaped = !escaped && c == '\\';
        ends
    });
    let Some((key, rest)) = end.and_then(|end| line.split_at_checked(end)) else { return (line, "") };
    let rest = rest.trim_start();
    (key, rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start())
}

/// `None` if a `\u` is not followed by four hexadecimal digits that name a character.
fn unescape(raw: &str) -> Option<String> {
    let mut text = String::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            text.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => text.push('\t'),
            Some('n') => text.push('\n'),
            Some('r') => text.push('\r'),
            Some('f') => text.push('\u{c}'),
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                if digits.len() != 4 {
                    return None;
                }
                text.push(char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?);
            }
            Some(other) => text.push(other),
            None => {}
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(usize, &str, &str)]) {
        let entries = parse("f", text).expect("the text is well-formed");
        let found: Vec<_> = entries.iter().map(|e| (e.line, e.key.as_str(), e.value.as_str())).collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn reads_java_properties() {
        check("", &[]);
        check("# a\n ! b\n\n  \nk=v", &[(5, "k", "v")]);
        check("a=1\r\nb = 2 \n", &[(1, "a", "1"), (2, "b", "2")]);
        check("a:1\nb 2\nc\t=\t3", &[(1, "a", "1"), (2, "b", "2"), (3, "c", "3")]);
        check("n=h:1;i:2", &[(1, "n", "h:1;i:2")]);
        check("n=h:1;\\\n   i:2\nz=1", &[(1, "n", "h:1;i:2"), (3, "z", "1")]);
        check("a=b\\\\\nc=d", &[(1, "a", "b\\"), (2, "c", "d")]);
        check("a=\\u0041\\tb", &[(1, "a", "A\tb")]);
        check("a\\=b=c", &[(1, "a=b", "c")]);
        check("alone", &[(1, "alone", "")]);
        check("a=1\\\n# not a comment", &[(1, "a", "1# not a comment")]);
        check("a=1\na=1", &[(1, "a", "1")]);
        check("a=x\\", &[(1, "a", "x")]);
    }

    #[test]
    fn other_values_leave_everything_else_as_it_is() {
        let check = |text: &str, changes: &[(&str, &str)], expected: &str| {
            let entry =
                |(key, value): &(&str, &str)| Property { line: 1, key: (*key).to_owned(), value: (*value).to_owned() };
            let changes: Vec<Property> = changes.iter().map(entry).collect();
            let changed = set(text, &changes);
            assert_eq!(changed, expected, "{text:?}");
            let found = parse("f", &changed).expect("it is well-formed still");
            for change in &changes {
                let value = found.iter().find(|entry| entry.key == change.key).map(|entry| entry.value.as_str());
                assert_eq!(value, Some(change.value.as_str()), "{changed:?}");
            }
        };
        check("", &[("a", "1")], "a=1\n");
        check("# one\na = 1 \n\n! two\nb:2", &[("a", "9")], "# one\na=9\n\n! two\nb:2");
        check("b=2", &[("a", "9")], "b=2\na=9\n");
        check("a=1\r\nb=2\r\n", &[("a", "9"), ("c", "3")], "a=9\r\nb=2\r\nc=3\r\n");
        check("n=h:1;\\\n   i:2\nz=1\n", &[("n", "h")], "n=h\nz=1\n");
        check("n=h:1;\\\n   a=1\nz=1\n", &[("a", "2")], "n=h:1;\\\n   a=1\nz=1\na=2\n");
        check(
            "# What a is.\n#a=1\n\n# What b is.\n#b=2\n",
            &[("a", "7")],
            "# What a is.\n#a=1\na=7\n\n# What b is.\n#b=2\n",
        );
        check("# ends in \\\na=1\n", &[("a", "2")], "# ends in \\\na=2\n");
        check("a=1\na=1\n", &[("a", "2")], "a=2\na=2\n");
        check("a=1\n", &[("a", "c:\\d")], "a=c:\\\\d\n");
        // A backslash at the end of the file would take in what comes behind.
        check("a=16\\", &[("b", "4")], "b=4\na=16\\\n");
        check("# b=6\na=16\\\n", &[("b", "4")], "# b=6\nb=4\na=16\\\n");
    }

    #[test]
    fn refuses_two_values_and_bad_escapes() {
        let error = |text| parse("f", text).expect_err("the text is malformed").to_string();
        assert_eq!(error("a=1\nb=2\na=3"), "f line 3: a is set here and at line 1; keep one of them");
        assert_eq!(error("a=\\u00g1"), "f line 1: \\u must be followed by the four hexadecimal digits of a character");
    }
}
