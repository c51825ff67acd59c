//! Which messages a subscription wants, decided by the hash of their tag.
//!
//! The broker compares hashes only; clients compare the tags themselves and drop what only collides. Source: RocketMQ
//! `FilterAPI.buildSubscriptionData`, `DefaultMessageFilter`.

use crate::protocol::message::java_hash;

/// The tags that a subscription wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TagFilter {
    /// Every message, with or without a tag.
    All,
    /// Messages whose tag has one of these hashes, ascending.
    Hashes(Vec<i32>),
}

impl TagFilter {
    /// The filter of an expression: tags with `||` between them; empty or `*` is everything.
    ///
    /// # Errors
    /// [`BadExpression`] if only separators are left.
    pub(crate) fn parse(expression: &str) -> Result<TagFilter, BadExpression> {
        let expression = expression.trim();
        if expression.is_empty() || expression == "*" {
            return Ok(TagFilter::All);
        }
        let tags = expression.split("||").map(str::trim).filter(|tag| !tag.is_empty());
        let mut hashes: Vec<i32> = tags.map(java_hash).collect();
        if hashes.is_empty() {
            return Err(BadExpression);
        }
        hashes.sort_unstable();
        hashes.dedup();
        Ok(TagFilter::Hashes(hashes))
    }

    /// Whether a message with this tag code may be wanted. Codes are sign-extended hashes, so their low half decides.
    #[must_use]
    pub(crate) fn wants(&self, tag_code: i64) -> bool {
        match self {
            TagFilter::All => true,
            #[expect(clippy::cast_possible_truncation, reason = "a tag code is a sign-extended 32-bit hash")]
            TagFilter::Hashes(hashes) => hashes.binary_search(&(tag_code as i32)).is_ok(),
        }
    }
}

/// A tag expression without a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the subscription expression names no tag")]
pub(crate) struct BadExpression;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_become_hashes() {
        let check = |expression: &str, tag: &str, expected: bool| {
            let filter = TagFilter::parse(expression).unwrap();
            assert_eq!(filter.wants(i64::from(java_hash(tag))), expected, "{expression} {tag}");
        };
        check("*", "A", true);
        check("", "A", true);
        check(" A || B ", "A", true);
        check("A||B", "B", true);
        check("A||B", "C", false);
        check("A|| ||", "A", true);
        check("A", "", false);
        // A tag whose hash is negative is stored sign-extended.
        check("polygenelubricants", "polygenelubricants", true);
        check("TagÄ漢", "TagÄ漢", true);
        assert_eq!(TagFilter::parse("||"), Err(BadExpression));
    }
}
