//! What the operands of an expression come to, and how two of them compare.
//!
//! A property is a text always. Compared with a number it becomes one of that very type, as Java reads it, or the comparison fails. Source:
//! RocketMQ `ComparisonExpression`, Java's `Integer`, `Long`, `Boolean` and `Double`.

use std::cmp::Ordering;

/// The value of an operand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Operand<'a> {
    Null,
    Boolean(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(&'a str),
}

/// An expression that has no result for a message, where Java throws. The message does not match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the expression cannot be evaluated for these properties")]
pub struct NoResult;

impl Operand<'_> {
    /// Bytes that reading it may cost.
    pub(super) fn weight(self) -> usize {
        match self {
            Operand::Text(text) => text.len(),
            _ => 0,
        }
    }

    /// A number's opposite; nothing else has one.
    pub(super) fn negated(self) -> Self {
        match self {
            Operand::Int(number) => Operand::Int(number.wrapping_neg()),
            Operand::Long(number) => Operand::Long(number.wrapping_neg()),
            Operand::Double(number) => Operand::Double(-number),
            Operand::Null | Operand::Boolean(_) | Operand::Text(_) => Operand::Null,
        }
    }
}

/// How two values compare, neither of them null. What cannot be compared at all counts as less, except where Java fails: [`NoResult`].
pub(super) fn compare(left: Operand<'_>, right: Operand<'_>) -> Result<Ordering, NoResult> {
    use Operand::{Boolean, Double, Int, Long, Text};
    #[expect(clippy::cast_precision_loss, reason = "as Java's widening of a long")]
    let ordering = match (left, right) {
        (Boolean(left), Boolean(right)) => left.cmp(&right),
        (Text(left), Text(right)) => left.cmp(right),
        (Int(left), Int(right)) => left.cmp(&right),
        (Long(left), Long(right)) => left.cmp(&right),
        (Int(left), Long(right)) => i64::from(left).cmp(&right),
        (Long(left), Int(right)) => left.cmp(&i64::from(right)),
        (Double(left), Double(right)) => compare_doubles(left, right),
        (Double(left), Int(right)) => compare_doubles(left, f64::from(right)),
        (Int(left), Double(right)) => compare_doubles(f64::from(left), right),
        (Double(left), Long(right)) => compare_doubles(left, right as f64),
        (Long(left), Double(right)) => compare_doubles(left as f64, right),
        (Text(left), Int(right)) => integer::<i32>(left)?.cmp(&right),
        (Int(left), Text(right)) => left.cmp(&integer(right)?),
        (Text(left), Long(right)) => integer::<i64>(left)?.cmp(&right),
        (Long(left), Text(right)) => left.cmp(&integer(right)?),
        (Text(left), Double(right)) => compare_doubles(double(left)?, right),
        (Double(left), Text(right)) => compare_doubles(left, double(right)?),
        (Text(left), Boolean(right)) => left.eq_ignore_ascii_case("true").cmp(&right),
        // Java takes the boolean for the text that is to be read, and fails.
        (Boolean(_), Text(_)) => return Err(NoResult),
        (Operand::Null | Boolean(_) | Int(_) | Long(_) | Double(_), _) | (Text(_), Operand::Null) => Ordering::Less,
    };
    Ok(ordering)
}

/// The same where the order matters: two texts are compared as numbers.
pub(super) fn compare_order(left: Operand<'_>, right: Operand<'_>) -> Result<Ordering, NoResult> {
    match (left, right) {
        (Operand::Text(left), Operand::Text(right)) => Ok(compare_doubles(double(left)?, double(right)?)),
        _ => compare(left, right),
    }
}

/// Java's `Double.compare`: -0.0 is less than 0.0, and NaN is equal to itself and greater than all else.
fn compare_doubles(left: f64, right: f64) -> Ordering {
    match (left.is_nan(), right.is_nan()) {
        (false, false) => left.total_cmp(&right),
        (left, right) => left.cmp(&right),
    }
}

/// Java's `Integer.valueOf` and `Long.valueOf`, of ASCII digits.
pub(super) fn integer<T: std::str::FromStr>(text: &str) -> Result<T, NoResult> {
    text.parse().map_err(|_| NoResult)
}

/// Java's `Double.valueOf`: blanks around it, `NaN`, `Infinity`, a type's letter behind it, hexadecimal.
fn double(text: &str) -> Result<f64, NoResult> {
    let text = text.trim_matches(|letter| letter <= ' ');
    let (is_negative, size) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let value = match size {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        _ => {
            let number = size.strip_suffix(['f', 'F', 'd', 'D']).unwrap_or(size);
            match number.strip_prefix("0x").or_else(|| number.strip_prefix("0X")) {
                Some(hexadecimal) => read_hexadecimal(hexadecimal),
                // What is spelled out, such as `inf`, was read above or is no number.
                None => number
                    .starts_with(|first: char| first.is_ascii_digit() || first == '.')
                    .then(|| number.parse().ok())
                    .flatten(),
            }
        }
    };
    value.map(|value| if is_negative { -value } else { value }).ok_or(NoResult)
}

/// Hexadecimal digits, maybe with a point, `p` and a decimal exponent of two. Rounded once, to the nearest, ties to even.
fn read_hexadecimal(text: &str) -> Option<f64> {
    let (digits, exponent) = text.split_once(['p', 'P'])?;
    let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if unsigned.is_empty() || !unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // An exponent that no number has is as good as one beyond all doubles.
    let far: i64 = unsigned.parse().unwrap_or(i64::MAX).min(1 << 40);
    let exponent = if exponent.starts_with('-') { -far } else { far };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let (mut mantissa, mut scale) = (0_u64, 0_i64);
    for (index, digit) in whole.chars().chain(fraction.chars()).enumerate() {
        let digit = u64::from(digit.to_digit(16)?);
        let is_fraction = index >= whole.len();
        if mantissa >> 60 == 0 {
            mantissa = mantissa << 4 | digit;
            scale -= if is_fraction { 4 } else { 0 };
        } else {
            // What no longer fits is kept as "there was more".
            mantissa |= u64::from(digit != 0);
            scale += if is_fraction { 0 } else { 4 };
        }
    }
    Some(scaled(mantissa, exponent + scale))
}

/// `mantissa` times two to the power of `exponent`, as the nearest double.
fn scaled(mantissa: u64, exponent: i64) -> f64 {
    if mantissa == 0 {
        return 0.0;
    }
    let zeros = mantissa.leading_zeros();
    let mantissa = mantissa << zeros;
    // The power of two of the highest bit.
    let power = exponent - i64::from(zeros) + 63;
    if power > 1023 {
        return f64::INFINITY;
    }
    let kept = if power >= -1022 { 53 } else { 53 - (-1022 - power) };
    if kept < 0 {
        return 0.0;
    }
    let dropped = u32::try_from(64 - kept).expect("11 to 64");
    let (mut bits, rest) =
        if dropped == 64 { (0, mantissa) } else { (mantissa >> dropped, mantissa & ((1 << dropped) - 1)) };
    let half = 1_u64 << (dropped - 1);
    if rest > half || (rest == half && bits & 1 == 1) {
        bits += 1;
    }
    // A carry out of the bits goes on into the exponent, which is what it means.
    let exponent = u64::try_from(power + 1022).unwrap_or(0);
    f64::from_bits((exponent << 52) + bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_doubles_as_in_java() {
        let check = |text: &str, expected: Option<f64>| {
            let found = double(text).ok().map(f64::to_bits);
            assert_eq!(found, expected.map(f64::to_bits), "{text:?}");
        };
        check("5", Some(5.0));
        check(" \t5.\n", Some(5.0));
        check("+.5e1", Some(5.0));
        check("-0", Some(-0.0));
        check("5d", Some(5.0));
        check("5.5F", Some(5.5));
        check("1e999", Some(f64::INFINITY));
        check("-Infinity", Some(f64::NEG_INFINITY));
        check("0x10p0", Some(16.0));
        check("0x.8P1d", Some(1.0));
        check("-0x1.8p1", Some(-3.0));
        check("0x1p-1074", Some(f64::from_bits(1)));
        check("0x1p-1075", Some(0.0));
        check("0x1.8p-1075", Some(f64::from_bits(1)));
        check("0x1.fffffffffffffp1023", Some(f64::MAX));
        check("0x1.fffffffffffff8p1023", Some(f64::INFINITY));
        check("0x1.00000000000008p0", Some(1.0));
        check("0x1.000000000000080001p0", Some(1.0 + f64::EPSILON));
        check("0x1p99999999999999999999", Some(f64::INFINITY));
        check("0x0.000000000000000000000000000001p120", Some(1.0));
        for wrong in [
            "", " ", "+", ".", "e5", "1e", "1 2", "nan", "inf", "infinity", "NaNf", "0x1", "0xp1", "0x1p", "0x.p1",
            "5ff", "--5", "1_0", "0x1.gp1",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn doubles_compare_as_in_java() {
        assert_eq!(compare_doubles(-0.0, 0.0), Ordering::Less);
        assert_eq!(compare_doubles(f64::NAN, -f64::NAN), Ordering::Equal);
        assert_eq!(compare_doubles(f64::NAN, f64::INFINITY), Ordering::Greater);
        assert_eq!(compare_doubles(f64::INFINITY, -f64::NAN), Ordering::Less);
    }
}
