//! The words of an SQL92 expression.
//!
//! The longest token that begins at a place is taken, keywords before names, as JavaCC does. A comment to the end of a line is one only if
//! that line ends: `a = --5` at the end of an expression is `a = 5`. Source: RocketMQ `SelectorParser.jj`.

use super::sql::FilterError;

/// One word.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Token<'a> {
    EndOfText,
    Not,
    And,
    Or,
    Between,
    In,
    True,
    False,
    Null,
    Is,
    Contains,
    StartsWith,
    EndsWith,
    /// Digits, and maybe an `L`.
    Decimal(&'a str),
    Float(&'a str),
    /// What is between the quotes; a quote in it is still two.
    Text(&'a str),
    Name(&'a str),
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Open,
    Comma,
    Close,
    Plus,
    Minus,
}

const KEYWORDS: [(&str, Token<'static>); 12] = [
    ("NOT", Token::Not),
    ("AND", Token::And),
    ("OR", Token::Or),
    ("BETWEEN", Token::Between),
    ("IN", Token::In),
    ("TRUE", Token::True),
    ("FALSE", Token::False),
    ("NULL", Token::Null),
    ("IS", Token::Is),
    ("CONTAINS", Token::Contains),
    ("STARTSWITH", Token::StartsWith),
    ("ENDSWITH", Token::EndsWith),
];

/// Reads words one by one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Words<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        Words { text, at: 0 }
    }

    /// The next word, and the byte at which it begins.
    pub(super) fn next(&mut self) -> Result<(Token<'a>, usize), FilterError> {
        let from = self.skip();
        let rest = &self.text[from..];
        let Some(first) = rest.chars().next() else { return Ok((Token::EndOfText, from)) };
        let (token, len) = match first {
            'a'..='z' | 'A'..='Z' | '_' | '$' => word(rest),
            '0'..='9' | '.' => number(rest).ok_or_else(|| self.not_a_word(from))?,
            '\'' => text(rest).ok_or_else(|| self.not_a_word(from))?,
            _ => sign(rest).ok_or_else(|| self.not_a_word(from))?,
        };
        self.at = from + len;
        Ok((token, from))
    }

    /// Passes over blanks and comments.
    fn skip(&mut self) -> usize {
        loop {
            let rest = &self.text[self.at..];
            let blank = rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r', '\x0c']).len();
            let comment = match rest.as_bytes() {
                [b'-', b'-', ..] => rest.find(['\n', '\r']).map(|end| end + 1),
                [b'/', b'*', ..] => rest[2..].find("*/").map(|end| end + 4),
                _ => None,
            };
            match comment.unwrap_or(blank) {
                0 => return self.at,
                len => self.at += len,
            }
        }
    }

    fn not_a_word(&self, at: usize) -> FilterError {
        FilterError::Word { found: self.text[at..].chars().next().unwrap_or('\0'), place: place(self.text, at) }
    }
}

/// Line and column of a byte, both from 1.
pub(super) fn place(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

fn word(rest: &str) -> (Token<'_>, usize) {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '$';
    let name = &rest[..rest.find(|letter| !is_part(letter)).unwrap_or(rest.len())];
    let keyword = KEYWORDS.iter().find(|(keyword, _)| name.eq_ignore_ascii_case(keyword));
    (keyword.map_or(Token::Name(name), |(_, token)| *token), name.len())
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// `e`, maybe a sign, digits; 0 if that is not what is there.
fn exponent(text: &str) -> usize {
    let Some(rest) = text.strip_prefix(['e', 'E']) else { return 0 };
    let unsigned = rest.strip_prefix(['+', '-']).unwrap_or(rest);
    match digits(unsigned) {
        0 => 0,
        len => text.len() - unsigned.len() + len,
    }
}

/// A number; `None` for a point without a digit. A zero that digits follow is a number of its own.
fn number(rest: &str) -> Option<(Token<'_>, usize)> {
    let whole = digits(rest);
    let behind = &rest[whole..];
    let float = if let Some(fraction) = behind.strip_prefix('.') {
        let fraction_len = digits(fraction);
        (whole + fraction_len > 0).then(|| whole + 1 + fraction_len + exponent(&fraction[fraction_len..]))?
    } else if exponent(behind) > 0 {
        whole + exponent(behind)
    } else {
        0
    };
    if float > 0 {
        return Some((Token::Float(&rest[..float]), float));
    }
    let len = match (rest.starts_with('0'), behind.starts_with(['l', 'L'])) {
        (true, _) => 1,
        (false, long) => whole + usize::from(long),
    };
    Some((Token::Decimal(&rest[..len]), len))
}

/// A text in quotes; `None` if it does not end.
fn text(rest: &str) -> Option<(Token<'_>, usize)> {
    let mut end = 1;
    loop {
        end += rest[end..].find('\'')?;
        if !rest[end + 1..].starts_with('\'') {
            return Some((Token::Text(&rest[1..end]), end + 1));
        }
        end += 2;
    }
}

fn sign(rest: &str) -> Option<(Token<'_>, usize)> {
    let two = match rest.as_bytes() {
        [b'<', b'>', ..] => Some(Token::NotEqual),
        [b'<', b'=', ..] => Some(Token::LessOrEqual),
        [b'>', b'=', ..] => Some(Token::GreaterOrEqual),
        _ => None,
    };
    if let Some(token) = two {
        return Some((token, 2));
    }
    let one = match rest.as_bytes().first()? {
        b'=' => Token::Equal,
        b'>' => Token::Greater,
        b'<' => Token::Less,
        b'(' => Token::Open,
        b',' => Token::Comma,
        b')' => Token::Close,
        b'+' => Token::Plus,
        b'-' => Token::Minus,
        _ => return None,
    };
    Some((one, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_word_is_taken() {
        let check = |text: &str, expected: &[Token<'_>]| {
            let mut words = Words::of(text);
            let found: Vec<_> = std::iter::from_fn(|| match words.next() {
                Ok((Token::EndOfText, _)) => None,
                Ok((token, _)) => Some(token),
                Err(error) => panic!("{text}: {error}"),
            })
            .collect();
            assert_eq!(found, expected, "{text}");
        };
        check("", &[]);
        check("a is NOT null", &[Token::Name("a"), Token::Is, Token::Not, Token::Null]);
        check("nota $_9", &[Token::Name("nota"), Token::Name("$_9")]);
        check(
            "12L 012 0L",
            &[Token::Decimal("12L"), Token::Decimal("0"), Token::Decimal("12"), Token::Decimal("0"), Token::Name("L")],
        );
        check(
            "5. .5 5e1 5.e-1x 00.5 5e",
            &[
                Token::Float("5."),
                Token::Float(".5"),
                Token::Float("5e1"),
                Token::Float("5.e-1"),
                Token::Name("x"),
                Token::Float("00.5"),
                Token::Decimal("5"),
                Token::Name("e"),
            ],
        );
        check("'' 'it''s' 'ä'", &[Token::Text(""), Token::Text("it''s"), Token::Text("ä")]);
        check(
            "<><=< >=>=",
            &[Token::NotEqual, Token::LessOrEqual, Token::Less, Token::GreaterOrEqual, Token::GreaterOrEqual],
        );
        check("a-- b\nc /* - */d/**/", &[Token::Name("a"), Token::Name("c"), Token::Name("d")]);
        check("--5", &[Token::Minus, Token::Minus, Token::Decimal("5")]);
    }

    #[test]
    fn what_is_no_word_is_named_with_its_place() {
        let check = |text: &str, found: char, place: (usize, usize)| {
            let mut words = Words::of(text);
            let error = loop {
                match words.next() {
                    Ok((Token::EndOfText, _)) => panic!("{text} has words alone"),
                    Ok(_) => {}
                    Err(error) => break error,
                }
            };
            assert_eq!(error, FilterError::Word { found, place }, "{text}");
        };
        check("a = #", '#', (1, 5));
        check("a =\n 'ab", '\'', (2, 2));
        check("a /* b", '/', (1, 3));
        check("/*/", '/', (1, 1));
        check("ä", 'ä', (1, 1));
        check("1 .", '.', (1, 3));
        check("a != 5", '!', (1, 3));
    }
}
