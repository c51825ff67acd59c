//! Which broker gets how many queues of a new topic: spread evenly, or said exactly.

use thiserror::Error;

use crate::limits::TOPIC_QUEUES_MAX;

/// What a user asked for: `8`, or `broker-a-0=3,broker-a-1=1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// This many queues in all, as evenly as possible.
    Spread(u32),
    /// So many on each of these brokers, and none elsewhere.
    Exact(Vec<(String, u32)>),
}

/// Why a placement cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum PlacementError {
    /// Not a number and not a list of `BROKER=NUMBER`.
    #[error("{text} is neither a number of queues nor a list such as broker-a-0=3,broker-a-1=1")]
    Malformed { text: String },
    /// A number outside the bounds.
    #[error("{queues} queues are not possible; use 1 to {TOPIC_QUEUES_MAX}")]
    Number { queues: u32 },
    #[error("broker {broker} is named twice; name it once with all its queues")]
    Twice { broker: String },
    /// Not among the brokers there are.
    #[error("there is no broker {broker}; there are {}", known.join(", "))]
    UnknownBroker { broker: String, known: Vec<String> },
    #[error("there is no broker to place queues on")]
    NoBroker,
}

impl Placement {
    /// Reads `8` or `broker-a-0=3,broker-a-1=1`.
    ///
    /// # Errors
    /// [`PlacementError::Malformed`], `Number`, `Twice`.
    pub fn parse(text: &str) -> Result<Placement, PlacementError> {
        let malformed = || PlacementError::Malformed { text: text.to_owned() };
        let number = |digits: &str| {
            let queues: u32 = digits.trim().parse().map_err(|_| malformed())?;
            if (1..=TOPIC_QUEUES_MAX).contains(&queues) { Ok(queues) } else { Err(PlacementError::Number { queues }) }
        };
        if !text.contains('=') {
            return number(text).map(Placement::Spread);
        }
        let mut exact: Vec<(String, u32)> = Vec::new();
        for part in text.split(',') {
            let (broker, queues) = part.split_once('=').ok_or_else(malformed)?;
            let broker = broker.trim();
            if broker.is_empty() {
                return Err(malformed());
            }
            if exact.iter().any(|(known, _)| known == broker) {
                return Err(PlacementError::Twice { broker: broker.to_owned() });
            }
            exact.push((broker.to_owned(), number(queues)?));
        }
        Ok(Placement::Exact(exact))
    }

    /// Queues for each broker that gets any. `brokers` in the order in which they are to be filled; the first ones get the
    /// remainder. The sum is what was asked for.
    ///
    /// # Errors
    /// [`PlacementError::UnknownBroker`] and `NoBroker`.
    pub fn over(&self, brokers: &[String]) -> Result<Vec<(String, u32)>, PlacementError> {
        match self {
            Placement::Exact(exact) => match exact.iter().find(|(broker, _)| !brokers.contains(broker)) {
                Some((broker, _)) => {
                    Err(PlacementError::UnknownBroker { broker: broker.clone(), known: brokers.to_vec() })
                }
                None => Ok(exact.clone()),
            },
            Placement::Spread(queues) => {
                let count = u32::try_from(brokers.len()).unwrap_or(u32::MAX);
                let (Some(each), Some(more)) = (queues.checked_div(count), queues.checked_rem(count)) else {
                    return Err(PlacementError::NoBroker);
                };
                let share = |index: usize| each.saturating_add(u32::from(u32::try_from(index).is_ok_and(|i| i < more)));
                let shares = brokers.iter().enumerate().map(|(index, broker)| (broker.clone(), share(index)));
                Ok(shares.filter(|(_, share)| *share > 0).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, brokers: &[&str], expected: &str) {
        let brokers: Vec<String> = brokers.iter().map(|b| (*b).to_owned()).collect();
        let found = match Placement::parse(text).and_then(|placement| placement.over(&brokers)) {
            Ok(shares) => shares.iter().map(|(b, n)| format!("{b}={n}")).collect::<Vec<_>>().join(","),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn queues_are_spread_or_placed_as_said() {
        check("8", &["a", "b"], "a=4,b=4");
        check("8", &["a", "b", "c"], "a=3,b=3,c=2");
        check("2", &["a", "b", "c"], "a=1,b=1");
        check("a=3,b=1", &["a", "b", "c"], "a=3,b=1");
        check(" a = 3", &["a"], "a=3");
        check("a=3,z=1", &["a", "b"], "there is no broker z; there are a, b");
        check("8", &[], "there is no broker to place queues on");
        check("0", &["a"], "0 queues are not possible; use 1 to 65536");
        check("a=0", &["a"], "0 queues are not possible; use 1 to 65536");
        check("a=1,a=2", &["a"], "broker a is named twice; name it once with all its queues");
        check("x", &["a"], "x is neither a number of queues nor a list such as broker-a-0=3,broker-a-1=1");
        check("=3", &["a"], "=3 is neither a number of queues nor a list such as broker-a-0=3,broker-a-1=1");
    }

    proptest::proptest! {
        #[test]
        fn a_spread_is_even_and_complete(queues in 1..5000_u32, count in 1..300_usize) {
            let brokers: Vec<String> = (0..count).map(|i| format!("b{i}")).collect();
            let shares = Placement::Spread(queues).over(&brokers).expect("there are brokers");
            let sum: u32 = shares.iter().map(|(_, share)| share).sum();
            proptest::prop_assert_eq!(sum, queues);
            let most = shares.iter().map(|(_, share)| *share).max().expect("at least one queue");
            let least = if shares.len() < count { 0 } else { shares.iter().map(|(_, s)| *s).min().expect("not empty") };
            proptest::prop_assert!(most - least <= 1);
        }
    }
}
