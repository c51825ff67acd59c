//! A compiled SQL92 expression, and its evaluation on the properties of a record.
//!
//! Logic has three values, and the fourth outcome is that there is none: where Java throws, the message does not match. What is passed over
//! because the outcome is certain (the rest behind a FALSE of an AND) cannot fail. Source: RocketMQ `filter` module.
//!
//! An evaluation reads the properties once and notes where those lie that the expression names. It allocates nothing, each term runs
//! at most once, and what it reads of values is bounded.

use std::cmp::Ordering;

use super::parse::{Program, parse};
use super::value::{NoResult, Operand, compare, compare_order, integer};
use crate::limits::{
    EXPRESSION_BYTES_MAX, FILTER_DEPTH_MAX, FILTER_PROPERTIES_MAX, FILTER_READ_BYTES_MAX, FILTER_TERMS_MAX,
};

/// Why an expression is refused. A place is a line and a column, from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// A character that begins no word, or a text or comment that does not end.
    #[error("no word begins with {found:?} at line {}, column {}", .place.0, .place.1)]
    Word {
        /// The character.
        found: char,
        /// Where it is.
        place: (usize, usize),
    },
    /// A word that may not be there.
    #[error("encountered {found} at line {}, column {}, where {expected} is expected", .place.0, .place.1)]
    Unexpected {
        /// The word as it is written.
        found: String,
        /// Where it begins.
        place: (usize, usize),
        /// What may be there.
        expected: &'static str,
    },
    /// A number or a text in the place of a condition.
    #[error("the expression up to line {}, column {} is no condition", .place.0, .place.1)]
    NotBoolean {
        /// Behind it.
        place: (usize, usize),
    },
    /// An operand that this operator does not take.
    #[error("what is before line {}, column {} cannot be compared: {why}", .place.0, .place.1)]
    NotComparable {
        /// Behind it.
        place: (usize, usize),
        /// The operator's rule.
        why: &'static str,
    },
    /// A number that no type holds.
    #[error("the number {text} is out of range")]
    OutOfRange {
        /// As it is written.
        text: String,
    },
    /// Beyond `EXPRESSION_BYTES_MAX`.
    #[error("the expression has {bytes} bytes: at most {EXPRESSION_BYTES_MAX} are taken")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// Beyond `FILTER_DEPTH_MAX`.
    #[error("the expression is nested more than {FILTER_DEPTH_MAX} deep")]
    TooDeep,
    /// Beyond `FILTER_TERMS_MAX`.
    #[error("the expression has more than {FILTER_TERMS_MAX} parts")]
    TooManyParts,
    /// Beyond `FILTER_PROPERTIES_MAX`.
    #[error("the expression names more than {FILTER_PROPERTIES_MAX} properties")]
    TooManyProperties,
}

/// Which term of an expression.
pub(super) type TermId = u16;

/// A part of one of the tables beside the terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) from: u32,
    pub(super) to: u32,
}

impl Range {
    fn of<T>(self, table: &[T]) -> &[T] {
        &table[self.from as usize..self.to as usize]
    }
}

/// How a value's order is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl Order {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Order::Greater => ordering.is_gt(),
            Order::GreaterOrEqual => ordering.is_ge(),
            Order::Less => ordering.is_lt(),
            Order::LessOrEqual => ordering.is_le(),
        }
    }
}

/// Where a text is looked for in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextPart {
    Anywhere,
    Prefix,
    Suffix,
}

/// One operator or operand. Operands come before what they belong to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Term {
    Null,
    Boolean(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(Range),
    /// By its place among the names.
    Property(u16),
    Negated(TermId),
    Not(TermId),
    /// A property where a condition is due: properties are texts, so it is FALSE or NULL.
    Condition(TermId),
    /// `operands` of the expression.
    And(Range),
    Or(Range),
    Equal(TermId, TermId),
    IsNull(TermId),
    Order(Order, TermId, TermId),
    Between {
        is_not: bool,
        value: TermId,
        low: TermId,
        high: TermId,
    },
    /// `lists` of the expression, sorted.
    In {
        is_not: bool,
        property: TermId,
        list: Range,
    },
    Find {
        is_not: bool,
        part: TextPart,
        value: TermId,
        text: Range,
    },
}

/// An SQL92 expression, ready to be evaluated. Its size is bounded by its text and by `FILTER_TERMS_MAX`.
#[derive(Clone, Debug, PartialEq)]
pub struct SqlFilter {
    program: Program,
}

/// Where the value of a property lies in the properties' text; empty: it is not there, since a value is never empty.
#[derive(Clone, Copy, Debug, Default)]
struct FoundValue {
    from: u16,
    to: u16,
}

/// Between a property's name and its value. Source: RocketMQ `MessageDecoder`.
const NAME_END: u8 = 1;

/// Behind a property's value.
const PROPERTY_END: u8 = 2;

/// In no more texts one is found sooner by comparing it with each, most of which have another length.
const FEW_TEXTS: usize = 8;

/// Expressions with no more properties are evaluated with few slots.
const FEW_PROPERTIES: usize = 8;

impl SqlFilter {
    /// Compiles an expression. As with RocketMQ, what follows a whole condition is not read: `a = 1 b` is `a = 1`.
    ///
    /// # Errors
    /// [`FilterError`], also by the bounds of `limits`.
    pub fn compile(expression: &str) -> Result<SqlFilter, FilterError> {
        Ok(SqlFilter { program: parse(expression)? })
    }

    /// The outcome for these properties: TRUE, FALSE or NULL. Values that are not UTF-8 count as missing.
    ///
    /// # Errors
    /// [`NoResult`] where Java throws, and beyond `FILTER_READ_BYTES_MAX`.
    pub fn evaluate(&self, properties: &[u8]) -> Result<Option<bool>, NoResult> {
        if self.program.names.len() <= FEW_PROPERTIES {
            self.evaluate_with(properties, &mut [FoundValue::default(); FEW_PROPERTIES])
        } else {
            self.evaluate_with(properties, &mut [FoundValue::default(); FILTER_PROPERTIES_MAX])
        }
    }

    /// What an evaluation costs at most, in operands and operators; never 0.
    pub(super) fn steps(&self) -> usize {
        self.program.terms.len()
    }

    /// Whether a message with these properties is wanted: the outcome is TRUE.
    #[must_use]
    pub fn matches(&self, properties: &[u8]) -> bool {
        self.evaluate(properties) == Ok(Some(true))
    }

    fn evaluate_with(&self, properties: &[u8], slots: &mut [FoundValue]) -> Result<Option<bool>, NoResult> {
        self.find(properties, slots);
        let mut evaluation = Evaluation { program: &self.program, properties, slots, read_bytes: 0 };
        evaluation.condition(self.program.root)
    }

    /// Notes where the values of the named properties lie. The last of several counts, as in a Java map.
    fn find(&self, properties: &[u8], slots: &mut [FoundValue]) {
        // Properties have 32 KiB at most; of longer ones nothing is found beyond what the slots reach.
        let properties = &properties[..properties.len().min(usize::from(u16::MAX))];
        let (mut start, mut middle) = (0, None);
        each_separator(properties, |at| match (properties.get(at), middle) {
            (Some(&NAME_END), None) => middle = Some(at),
            (Some(&NAME_END), Some(_)) => {}
            _ => {
                if let Some(middle) = middle.take() {
                    self.note(properties, (start, middle, at), slots);
                }
                start = at + 1;
            }
        });
    }

    /// Notes a property if it is named: it begins at `start`, its value behind `middle`, and it ends before `end`.
    #[inline(always)]
    fn note(&self, properties: &[u8], (start, middle, end): (usize, usize, usize), slots: &mut [FoundValue]) {
        let Program { names, name_heads, .. } = &self.program;
        let (len, from) = (middle - start, middle + 1);
        let head = head(properties, start, len);
        let first = name_heads.partition_point(|known| *known < head);
        if name_heads.get(first) != Some(&head) || from == end {
            return;
        }
        let index = if len <= HEAD_BYTES {
            // Of the names with this head the shortest is the first, and the head is all of it.
            if names[first].len() != len {
                return;
            }
            first
        } else {
            let name = &properties[start..middle];
            match names[first..].binary_search_by(|known| known.as_bytes().cmp(name)) {
                Ok(behind) => first + behind,
                Err(_) => return,
            }
        };
        if let (Ok(from), Ok(to)) = (u16::try_from(from), u16::try_from(end)) {
            slots[index] = FoundValue { from, to };
        }
    }
}

/// How many bytes of a name are compared at once.
const HEAD_BYTES: usize = 8;

/// The first bytes of a name of this length, zeros behind it: numbers in the order of the names, which have no zeros in them.
#[inline(always)]
pub(super) fn head(text: &[u8], start: usize, len: usize) -> u64 {
    let rest = &text[start..];
    let eight = match rest.first_chunk::<HEAD_BYTES>() {
        Some(eight) => *eight,
        None => {
            let mut padded = [0; HEAD_BYTES];
            padded[..rest.len()].copy_from_slice(rest);
            padded
        }
    };
    // Nothing is left of a name of no bytes, which is no word of an expression.
    u64::from_be_bytes(eight) & HEADS_OF_LENGTHS[len.min(HEAD_BYTES)]
}

/// The bits of a head that a name of as many bytes fills.
const HEADS_OF_LENGTHS: [u64; HEAD_BYTES + 1] = [
    0,
    u64::MAX << 56,
    u64::MAX << 48,
    u64::MAX << 40,
    u64::MAX << 32,
    u64::MAX << 24,
    u64::MAX << 16,
    u64::MAX << 8,
    u64::MAX,
];

/// Calls for each place of a 1 or 2, in order, and for the end of the text. Places are found 64 at a time, without a branch: most of a text is
/// neither, and to look at each byte took half of an evaluation's time.
#[inline(always)]
fn each_separator(text: &[u8], mut call: impl FnMut(usize)) {
    let (blocks, rest) = text.as_chunks::<64>();
    let mut last = [0; 64];
    last[..rest.len()].copy_from_slice(rest);
    // The end is found as the others are.
    last[rest.len()] = PROPERTY_END;
    let mut begin = 0;
    for block in blocks.iter().chain([&last]) {
        let mut places = separators(block);
        while places != 0 {
            call(begin + places.trailing_zeros() as usize);
            places &= places - 1;
        }
        begin += 64;
    }
}

/// A bit for each byte that is 1 or 2, the first byte's lowest.
#[inline(always)]
fn separators(block: &[u8; 64]) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    // Brings the lowest bits of eight bytes into the highest byte, those of the first lowest.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let (eights, _) = block.as_chunks::<8>();
    let mut places = 0;
    for (number, eight) in eights.iter().enumerate() {
        let word = u64::from_le_bytes(*eight);
        let low = word & !HIGH;
        // The high bit of a byte: adding 127 carries into it from 1 on, 125 from 3 on, and never beyond.
        let found = (low + ONES * 127) & !(low + ONES * 125) & !word & HIGH;
        places |= ((found >> 7).wrapping_mul(GATHER) >> 56) << (8 * number);
    }
    places
}

struct Evaluation<'a> {
    program: &'a Program,
    properties: &'a [u8],
    slots: &'a [FoundValue],
    /// What was read of values.
    read_bytes: usize,
}

impl<'a> Evaluation<'a> {
    /// The outcome of a condition; what is none has none.
    fn condition(&mut self, term: TermId) -> Result<Option<bool>, NoResult> {
        match self.value(term)? {
            Operand::Boolean(outcome) => Ok(Some(outcome)),
            _ => Ok(None),
        }
    }

    /// Most operands are properties and literals, which need no call.
    #[inline(always)]
    fn value(&mut self, term: TermId) -> Result<Operand<'a>, NoResult> {
        match self.program.terms[usize::from(term)] {
            Term::Property(name) => self.property(name),
            Term::Int(number) => Ok(Operand::Int(number)),
            Term::Long(number) => Ok(Operand::Long(number)),
            Term::Double(number) => Ok(Operand::Double(number)),
            Term::Text(text) => Ok(Operand::Text(self.program.text(text))),
            Term::Null => Ok(Operand::Null),
            other => self.computed(other),
        }
    }

    fn computed(&mut self, term: Term) -> Result<Operand<'a>, NoResult> {
        let program = self.program;
        let outcome = match term {
            Term::Boolean(value) => Some(value),
            Term::Negated(operand) => return Ok(self.value(operand)?.negated()),
            Term::Not(operand) => self.condition(operand)?.map(|outcome| !outcome),
            Term::Condition(operand) => match self.value(operand)? {
                Operand::Null => None,
                value => Some(value == Operand::Boolean(true)),
            },
            Term::And(operands) => self.all(operands.of(&program.operands), false)?,
            Term::Or(operands) => self.all(operands.of(&program.operands), true)?,
            Term::Equal(left, right) => self.equal(left, right)?,
            Term::IsNull(operand) => Some(self.value(operand)? == Operand::Null),
            Term::Order(order, left, right) => {
                let left = self.value(left)?;
                self.order(order, left, right)?
            }
            Term::Between { is_not, value, low, high } => self.between(is_not, value, low, high)?,
            Term::In { is_not, property, list } => match self.value(property)? {
                Operand::Text(text) => {
                    let list = list.of(&program.lists);
                    let is_listed = if list.len() <= FEW_TEXTS {
                        list.iter().any(|listed| program.text(*listed) == text)
                    } else {
                        list.binary_search_by(|listed| program.text(*listed).cmp(text)).is_ok()
                    };
                    Some(is_listed != is_not)
                }
                _ => None,
            },
            Term::Null | Term::Int(_) | Term::Long(_) | Term::Double(_) | Term::Text(_) | Term::Property(_) => None,
            Term::Find { is_not, part, value, text } => {
                Some(self.holds(part, value, text)?.is_some_and(|found| found != is_not))
            }
        };
        Ok(outcome.map_or(Operand::Null, Operand::Boolean))
    }

    fn property(&mut self, name: u16) -> Result<Operand<'a>, NoResult> {
        let FoundValue { from, to } = self.slots[usize::from(name)];
        let bytes = &self.properties[usize::from(from)..usize::from(to)];
        self.read_bytes += bytes.len();
        if self.read_bytes > FILTER_READ_BYTES_MAX {
            return Err(NoResult);
        }
        Ok(match std::str::from_utf8(bytes) {
            Ok(text) if !text.is_empty() => Operand::Text(text),
            _ => Operand::Null,
        })
    }

    /// AND and OR of many: the first that `decides` ends it; else NULL if one was.
    fn all(&mut self, operands: &[TermId], decides: bool) -> Result<Option<bool>, NoResult> {
        let mut outcome = Some(!decides);
        for operand in operands {
            match self.condition(*operand)? {
                Some(found) if found == decides => return Ok(Some(decides)),
                Some(_) => {}
                None => outcome = None,
            }
        }
        Ok(outcome)
    }

    fn equal(&mut self, left: TermId, right: TermId) -> Result<Option<bool>, NoResult> {
        match (self.value(left)?, self.value(right)?) {
            (Operand::Null, Operand::Null) => Ok(Some(true)),
            (Operand::Null, _) => Ok(None),
            (_, Operand::Null) => Ok(Some(false)),
            (Operand::Text(left), Operand::Text(right)) => Ok(Some(left == right)),
            (left, right) => Ok(Some(compare(left, right)?.is_eq())),
        }
    }

    /// A null on the left hides what the right would come to.
    fn order(&mut self, order: Order, left: Operand<'a>, right: TermId) -> Result<Option<bool>, NoResult> {
        if left == Operand::Null {
            return Ok(None);
        }
        match self.value(right)? {
            Operand::Null => Ok(None),
            right => Ok(Some(order.holds(compare_order(left, right)?))),
        }
    }

    /// `value >= low AND value <= high`, or `value < low OR value > high`; the value is evaluated once.
    fn between(&mut self, is_not: bool, value: TermId, low: TermId, high: TermId) -> Result<Option<bool>, NoResult> {
        let value = self.value(value)?;
        let terms = &self.program.terms;
        if let (Operand::Text(text), Term::Int(low), Term::Int(high)) =
            (value, terms[usize::from(low)], terms[usize::from(high)])
        {
            // The usual: the text is read once.
            return Ok(Some((low..=high).contains(&integer(text)?) != is_not));
        }
        let (below, above) =
            if is_not { (Order::Less, Order::Greater) } else { (Order::GreaterOrEqual, Order::LessOrEqual) };
        let first = self.order(below, value, low)?;
        if first == Some(is_not) {
            return Ok(first);
        }
        let second = self.order(above, value, high)?;
        Ok(if second == Some(is_not) || first.is_some() { second } else { None })
    }

    /// Whether the text is there; nothing is said of what is no text, and of an empty search.
    fn holds(&mut self, part: TextPart, value: TermId, text: Range) -> Result<Option<bool>, NoResult> {
        let search = self.program.text(text);
        if search.is_empty() {
            return Ok(None);
        }
        let value = self.value(value)?;
        self.read_bytes += value.weight();
        let Operand::Text(value) = value else { return Ok(None) };
        Ok(Some(match part {
            TextPart::Anywhere => value.contains(search),
            TextPart::Prefix => value.starts_with(search),
            TextPart::Suffix => value.ends_with(search),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PROPERTIES_BYTES_MAX;
    use proptest::prelude::*;

    fn properties(pairs: &[(&str, &str)]) -> Vec<u8> {
        pairs.iter().flat_map(|(name, value)| format!("{name}\u{1}{value}\u{2}").into_bytes()).collect()
    }

    /// The outcomes are Apache's: `tests/filter_peers.rs` asks it of thousands.
    #[test]
    fn conditions_have_three_outcomes_and_none() {
        let texts = properties(&[("a", "1"), ("a", "5"), ("b", "x"), ("t", "tRuE"), ("empty", ""), ("d", "5.0")]);
        let check = |expression: &str, expected: Result<Option<bool>, NoResult>| {
            let filter = SqlFilter::compile(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
            assert_eq!(filter.evaluate(&texts), expected, "{expression}");
        };
        let (yes, no, null, none) = (Ok(Some(true)), Ok(Some(false)), Ok(None), Err(NoResult));
        for (expression, expected) in [
            ("a = 5", yes),
            ("a > 4 AND a <= 5 AND a <> 6", yes),
            ("a = 5.0", yes),
            ("a = d", no),
            ("d > 4", none),
            ("d > 4.5", yes),
            ("b > 1", none),
            ("FALSE AND b > 1", no),
            ("b > 1 AND FALSE", none),
            ("TRUE OR b > 1", yes),
            ("missing = 1", null),
            ("missing <> 1", null),
            ("NOT missing = 1", null),
            ("missing = 1 OR a = 5", yes),
            ("missing = 1 AND a = 6", no),
            ("missing = gone", yes),
            ("a = missing", no),
            ("missing IS NULL AND a IS NOT NULL", yes),
            ("empty IS NULL", yes),
            ("a BETWEEN 5 AND 6", yes),
            ("a NOT BETWEEN 1 AND 4", yes),
            ("a NOT BETWEEN 5 AND missing", null),
            ("a NOT BETWEEN 1 AND 5", no),
            ("b BETWEEN 1 AND 2", none),
            ("missing BETWEEN 1 AND 2", null),
            ("missing NOT BETWEEN 1 AND 2", null),
            ("d BETWEEN 1 AND 9", none),
            ("d BETWEEN 1.0 AND 9.0", yes),
            ("a IN ('4', '5')", yes),
            ("a NOT IN ('4', '5')", no),
            ("missing NOT IN ('4')", null),
            ("b NOT CONTAINS ''", no),
            ("missing NOT CONTAINS 'x'", no),
            ("b STARTSWITH 'x' AND b ENDSWITH 'x'", yes),
            ("t = TRUE", yes),
            ("TRUE = t", none),
            ("t", no),
            ("missing", null),
            ("-a = -5", null),
            ("a = --5", yes),
            ("a = 1 OR a = 5 whatever follows #", yes),
            ("NULL", null),
        ] {
            check(expression, expected);
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let check = |expression: &str, expected: &str| {
            let error = SqlFilter::compile(expression).expect_err(expression);
            assert_eq!(error.to_string(), expected, "{expression}");
        };
        check("", "encountered the end at line 1, column 1, where a property, a literal or a bracket is expected");
        check("a =\n  )", "encountered ) at line 2, column 3, where a property, a literal or a bracket is expected");
        check(
            "a NOT LIKE 'x'",
            "encountered LIKE at line 1, column 7, where BETWEEN, IN, CONTAINS, STARTSWITH or ENDSWITH is expected",
        );
        check("a != 5", "no word begins with '!' at line 1, column 3");
        check("5", "the expression up to line 1, column 2 is no condition");
        check("a = NULL", "what is before line 1, column 9 cannot be compared: NULL is asked for with IS");
        check("a > 'x'", "what is before line 1, column 8 cannot be compared: a text has no order");
        check("a = 9223372036854775808", "the number 9223372036854775808 is out of range");
        check("a = 0.0", "the number 0.0 is out of range");
    }

    #[test]
    fn expressions_are_bounded() {
        let nested = |deep: usize| format!("{}a = 1{}", "(".repeat(deep), ")".repeat(deep));
        assert!(SqlFilter::compile(&nested(FILTER_DEPTH_MAX)).is_ok());
        assert_eq!(SqlFilter::compile(&nested(FILTER_DEPTH_MAX + 1)), Err(FilterError::TooDeep));
        assert_eq!(SqlFilter::compile(&nested(30_000)), Err(FilterError::TooDeep));
        for sign in ["NOT ", "+", "- "] {
            assert_eq!(SqlFilter::compile(&(sign.repeat(10_000) + "a")), Err(FilterError::TooDeep), "{sign}");
        }
        // A chain is a tree that is deep on its left.
        let chain = |long: usize| format!("a{}", " = a".repeat(long));
        assert!(SqlFilter::compile(&chain(FILTER_DEPTH_MAX - 1)).is_ok());
        assert_eq!(SqlFilter::compile(&chain(FILTER_DEPTH_MAX)), Err(FilterError::TooDeep));

        let any = |many: usize| vec!["a"; many].join(" OR ");
        assert!(SqlFilter::compile(&any(FILTER_TERMS_MAX / 2 - 1)).is_ok());
        assert_eq!(SqlFilter::compile(&any(FILTER_TERMS_MAX / 2 + 1)), Err(FilterError::TooManyParts));

        let names = |many: usize| (0..many).map(|n| format!("p{n} = 'x'")).collect::<Vec<_>>().join(" AND ");
        assert!(SqlFilter::compile(&names(FILTER_PROPERTIES_MAX)).is_ok());
        assert_eq!(SqlFilter::compile(&names(FILTER_PROPERTIES_MAX + 1)), Err(FilterError::TooManyProperties));

        let long = |bytes: usize| format!("a = '{}'", "x".repeat(bytes - 6));
        assert!(SqlFilter::compile(&long(EXPRESSION_BYTES_MAX)).is_ok());
        let bytes = EXPRESSION_BYTES_MAX + 1;
        assert_eq!(SqlFilter::compile(&long(bytes)), Err(FilterError::TooLong { bytes }));
    }

    #[test]
    fn expressions_of_ten_kilobytes_and_of_many_names_work() {
        let many: Vec<String> = (0..700).map(|n| format!("k{} = '{n}'", n % 200)).collect();
        let filter = SqlFilter::compile(&many.join(" OR ")).unwrap();
        assert!(filter.matches(&properties(&[("x", "y"), ("k99", "699")])));
        assert!(!filter.matches(&properties(&[("x", "y"), ("k99", "698")])));
        let texts: Vec<String> = (0..2_000).map(|n| format!("'{n}'")).collect();
        let filter = SqlFilter::compile(&format!("a IN ({})", texts.join(","))).unwrap();
        assert!(filter.matches(&properties(&[("a", "1999")])) && !filter.matches(&properties(&[("a", "2000")])));
    }

    /// In RocketMQ each level of it doubles the work.
    #[test]
    fn nested_bounds_are_evaluated_once() {
        let deep = 100;
        let expression = format!("{}b BETWEEN 1 AND 2{}", "-(".repeat(deep), ") BETWEEN 1 AND 2".repeat(deep));
        let filter = SqlFilter::compile(&expression).unwrap();
        assert_eq!(filter.evaluate(&properties(&[("b", "1")])), Ok(None));
    }

    #[test]
    fn what_an_evaluation_reads_is_bounded() {
        let value = "7".repeat(PROPERTIES_BYTES_MAX - 3);
        let texts = properties(&[("a", &value)]);
        let several = |many: usize| vec!["a CONTAINS '8'"; many].join(" OR ");
        let within = FILTER_READ_BYTES_MAX / value.len() / 2;
        assert_eq!(SqlFilter::compile(&several(within)).unwrap().evaluate(&texts), Ok(Some(false)));
        assert_eq!(SqlFilter::compile(&several(within * 2 + 1)).unwrap().evaluate(&texts), Err(NoResult));
        // What lies beyond the properties of any record is not found, and nothing breaks.
        let longer = properties(&[("x", &"y".repeat(70_000)), ("a", "1")]);
        assert_eq!(SqlFilter::compile("a = 1").unwrap().evaluate(&longer), Ok(None));
    }

    #[test]
    fn names_are_told_apart_by_all_of_their_bytes() {
        let texts = properties(&[
            ("pro", "1"),
            ("pro\0", "2"),
            ("property", "3"),
            ("propertyA", "4"),
            ("propertyB\0", "5"),
            ("propertyBig", "6"),
            ("", "7"),
            ("\0\0", "8"),
            ("properties", "9"),
        ]);
        let check = |name: &str, expected: &str| {
            let others = "pro <> '1' OR property <> '3' OR propertyA <> '4' OR propertyBig <> '6' OR properties <> '9'";
            for expression in [format!("{name} = '{expected}'"), format!("{name} = '{expected}' AND NOT ({others})")] {
                assert_eq!(SqlFilter::compile(&expression).unwrap().evaluate(&texts), Ok(Some(true)), "{expression}");
            }
        };
        check("pro", "1");
        check("property", "3");
        check("propertyA", "4");
        check("propertyBig", "6");
        check("properties", "9");
        for missing in ["propertyB", "propertyBi", "propertyBigger", "propert", "p", "pr", "propertie"] {
            let outcome = SqlFilter::compile(&format!("{missing} IS NULL AND pro = '1'")).unwrap().evaluate(&texts);
            assert_eq!(outcome, Ok(Some(true)), "{missing}");
        }
    }

    proptest! {
        #[test]
        fn values_are_found_where_a_plain_reader_finds_them(
            text in prop::collection::vec(prop::sample::select(vec![0_u8, 1, 1, 2, 2, 3, b'a', b'b', b'a', 0x81, 0x82, 0xff]), 0..200),
        ) {
            let filter = SqlFilter::compile("a = 'x' OR b = 'x'").unwrap();
            let mut slots = [FoundValue::default(); FEW_PROPERTIES];
            filter.find(&text, &mut slots);
            for (name, slot) in ["a", "b"].iter().zip(slots) {
                let last = crate::protocol::record::pairs(&text).filter(|(found, _)| *found == name.as_bytes()).last();
                let found = &text[usize::from(slot.from)..usize::from(slot.to)];
                prop_assert_eq!(found, last.map_or(&[][..], |(_, value)| value));
            }
        }

        #[test]
        fn any_text_and_any_properties_come_to_an_end(
            words in prop::collection::vec(prop::sample::select(vec![
                "a", "b", "(", ")", "NOT", "AND", "OR", "=", "<>", "<", ">=", "-", "+", "BETWEEN", "IN", "IS", "NULL", "TRUE", "'x'", "''",
                "5", "5L", "1.5", ".", "CONTAINS", "STARTSWITH", ",", "--", "\n", "/*", "*/", "ä",
            ]), 0..40),
            text in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            if let Ok(filter) = SqlFilter::compile(&words.join(" ")) {
                let first = filter.evaluate(&text);
                prop_assert_eq!(filter.evaluate(&text), first, "the same again");
                prop_assert!(filter.steps() <= FILTER_TERMS_MAX);
            }
        }

        /// The properties that are not named change nothing.
        #[test]
        fn only_named_properties_count(a in -9_i64..9, other in "[^\u{1}\u{2}]{1,8}") {
            let filter = SqlFilter::compile("a BETWEEN -3 AND 3").unwrap();
            let text = a.to_string();
            let with = properties(&[("b", &other), ("a", &text), ("aa", &other)]);
            prop_assert_eq!(filter.matches(&with), (-3..=3).contains(&a));
        }
    }
}
