//! Expressions that pulls bring with them, compiled once: the same few come again and again.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{FilterError, MessageFilter, SqlFilter};
use crate::limits::FILTER_KEPT_BYTES_MAX;
use crate::model::FastMap;

/// Compiled expressions of a shard, by their text. The oldest go first.
#[derive(Debug, Default)]
pub(crate) struct KeptFilters {
    filters: FastMap<Arc<str>, Arc<MessageFilter>>,
    order: VecDeque<Arc<str>>,
    bytes: usize,
}

impl KeptFilters {
    /// The filter of an expression.
    ///
    /// # Errors
    /// [`FilterError`]; an expression that is refused is not kept.
    pub(crate) fn get(&mut self, expression: &str) -> Result<Arc<MessageFilter>, FilterError> {
        if let Some(known) = self.filters.get(expression) {
            return Ok(Arc::clone(known));
        }
        let filter = Arc::new(MessageFilter::Sql(SqlFilter::compile(expression)?));
        self.bytes += expression.len();
        while self.bytes > FILTER_KEPT_BYTES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.bytes -= oldest.len();
            self.filters.remove(&oldest);
        }
        let text: Arc<str> = Arc::from(expression);
        self.order.push_back(Arc::clone(&text));
        self.filters.insert(text, Arc::clone(&filter));
        Ok(filter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_again_is_kept_up_to_its_bound() {
        let mut kept = KeptFilters::default();
        let first = kept.get("a = 1").unwrap();
        assert!(Arc::ptr_eq(&first, &kept.get("a = 1").unwrap()));
        assert!(kept.get("a =").is_err());
        assert_eq!((kept.filters.len(), kept.bytes), (1, 5));
        for number in 0..40 {
            let long = format!("a = '{number}{}'", "x".repeat(50_000));
            kept.get(&long).unwrap();
        }
        assert!(kept.bytes <= FILTER_KEPT_BYTES_MAX);
        assert_eq!(kept.filters.len(), kept.order.len());
        assert!(kept.filters.len() >= 20);
        assert!(!Arc::ptr_eq(&first, &kept.get("a = 1").unwrap()));
    }
}
