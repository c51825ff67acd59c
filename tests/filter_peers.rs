//! SQL92 filters: Apache's own filter 5.3.3 says the same of thousands of generated expressions and messages.
//!
//! Expressions are drawn from the grammar, then some are damaged; properties are those that the expressions name, with values that look like
//! numbers, nearly like numbers, or not at all. Each outcome is compared: true, false, null, an error, a refusal of the expression. `RINGMQ_SEED`
//! has a run again, `RINGMQ_ROUNDS` makes it longer. What this cannot show is what only Unicode digits or a stack of Java's depth would.
#[path = "filter_peers/raw.rs"]
mod raw;

use harness::{Node, NodeOptions, Random, Seed, rounds, say};
use ringmq::broker::filter::SqlFilter;
use ringmq_peers::{Apache, BrokerOptions, FilterCase};

/// Expressions of one round, which takes a second or two, most of it Java's start.
const EXPRESSIONS: usize = 6_000;

const NAMES: [&str; 9] = ["a", "b", "A", "TAGS", "KEYS", "$x", "_y9", "price", "region"];

const NUMBERS: [&str; 24] = [
    "0",
    "1",
    "5",
    "-5",
    "+7",
    "2147483647",
    "2147483648",
    "-2147483648",
    "9223372036854775807",
    "9223372036854775808",
    "1.5",
    "-0.0",
    "0.0",
    ".5",
    "5.",
    "1e3",
    "1E-400",
    "1e400",
    "NaN",
    "-Infinity",
    "0x1.8p1",
    "5d",
    " 6 ",
    "007",
];

const WORDS: [&str; 14] =
    ["", "x", "xy", "yx", "TRUE", "true", "False", "it's", "ä漢", "null", "5x", "%", "a b", "TagA"];

const LITERALS: [&str; 22] = [
    "0",
    "1",
    "5",
    "5L",
    "10l",
    "2147483647",
    "2147483648",
    "9223372036854775807",
    "9223372036854775808",
    "1.5",
    ".5",
    "5.",
    "5e1",
    "1.e-2",
    "1e400",
    "1e-400",
    "0.0",
    "TRUE",
    "false",
    "NULL",
    "007",
    "0L",
];

/// Draws expressions.
struct Drawn<'a> {
    random: &'a mut Random,
    text: String,
}

impl Drawn<'_> {
    fn put(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push_str(if self.random.once_in(40) { "/* * */" } else { " " });
    }

    fn word(&mut self, word: &str) {
        let other = match self.random.below(4) {
            0 => word.to_lowercase(),
            _ => word.to_owned(),
        };
        self.put(&other);
    }

    fn string(&mut self) {
        let (first, second) = (self.random.choose(&WORDS), self.random.choose(&NUMBERS));
        let text = if self.random.once_in(3) { second } else { first };
        self.put(&format!("'{}'", text.replace('\'', "''")));
    }

    fn operand(&mut self, depth: u32) {
        match self.random.below(12) {
            0..=5 => {
                let name = self.random.choose(&NAMES);
                self.put(name);
            }
            6..=8 => {
                let literal = self.random.choose(&LITERALS);
                self.put(literal);
            }
            9 => self.string(),
            10 => {
                let sign = if self.random.once_in(3) { "+" } else { "-" };
                self.put(sign);
                self.operand(depth);
            }
            _ if depth > 0 => {
                self.put("(");
                self.condition(depth - 1);
                self.put(")");
            }
            _ => self.put("price"),
        }
    }

    fn negation(&mut self) {
        if self.random.once_in(3) {
            self.word("NOT");
        }
    }

    fn strings(&mut self) {
        self.put("(");
        let count = 1 + self.random.below(7);
        for index in 0..count {
            if index > 0 {
                self.put(",");
            }
            self.string();
        }
        self.put(")");
    }

    fn term(&mut self, depth: u32) {
        self.operand(depth);
        match self.random.below(16) {
            0..=6 => {
                let sign = self.random.choose(&["=", "=", "<>", ">", ">=", "<", "<="]);
                self.put(sign);
                self.operand(depth);
            }
            7 | 8 => {
                self.word("IS");
                self.negation();
                self.word("NULL");
            }
            9 | 10 => {
                self.negation();
                self.word("BETWEEN");
                self.operand(0);
                self.word("AND");
                self.operand(0);
            }
            11 | 12 => {
                self.negation();
                self.word("IN");
                self.strings();
            }
            13 | 14 => {
                self.negation();
                let word = self.random.choose(&["CONTAINS", "STARTSWITH", "ENDSWITH"]);
                self.word(word);
                self.string();
            }
            _ => {}
        }
    }

    fn condition(&mut self, depth: u32) {
        let terms = 1 + self.random.below(3);
        for index in 0..terms {
            if index > 0 {
                let between = self.random.choose(&["AND", "OR"]);
                self.word(between);
            }
            match self.random.below(6) {
                0 if depth > 0 => {
                    self.word("NOT");
                    self.put("(");
                    self.condition(depth - 1);
                    self.put(")");
                }
                1 if depth > 0 => {
                    self.put("(");
                    self.condition(depth - 1);
                    self.put(")");
                }
                _ => self.term(depth),
            }
        }
    }
}

fn expression(random: &mut Random) -> String {
    let mut drawn = Drawn { random, text: String::new() };
    drawn.condition(3);
    let Drawn { random, mut text } = drawn;
    if random.once_in(4) {
        damage(random, &mut text);
    }
    text
}

/// Takes a character out, puts one in, or puts something behind.
fn damage(random: &mut Random, text: &mut String) {
    let letters: Vec<char> = text.chars().collect();
    let at = random.below(letters.len());
    let (before, behind) = (letters[..at].iter(), letters[at..].iter());
    *text = match random.below(4) {
        0 => before.chain(behind.skip(1)).collect(),
        1 => {
            let letter = random.choose(&[
                "'", "(", ")", "-", "--", "/*", "#", "!", "=", ">", ".", "e", "L", "\n", "\t", "ä", "0", ",",
            ]);
            before.collect::<String>() + letter + &behind.collect::<String>()
        }
        2 => format!(
            "{text} {}",
            random.choose(&["b = 5", "#", "-- comment\n", "-- comment", "'", "NOT", "IS", ")", "0123"])
        ),
        _ => before.collect(),
    };
}

fn properties(random: &mut Random) -> String {
    let mut text = String::new();
    for _ in 0..random.below(10) {
        let name = random.choose(&NAMES);
        let value = if random.once_in(2) { random.choose(&NUMBERS) } else { random.choose(&WORDS) };
        text += &format!("{name}\u{1}{value}\u{2}");
    }
    if random.once_in(4) {
        text.pop();
    }
    text
}

fn ours(case: &FilterCase) -> String {
    let Ok(filter) = SqlFilter::compile(&case.expression) else { return "r".to_owned() };
    let letter = |properties: &String| match filter.evaluate(properties.as_bytes()) {
        Ok(Some(true)) => 't',
        Ok(Some(false)) => 'f',
        Ok(None) => 'n',
        Err(_) => 'e',
    };
    case.properties.iter().map(letter).collect()
}

fn check(apache: &Apache, cases: &[FilterCase]) {
    let theirs = apache.filter(cases).expect("Apache's filter runs");
    assert_eq!(theirs.len(), cases.len());
    let mut differing = Vec::new();
    for (case, theirs) in cases.iter().zip(&theirs) {
        let ours = ours(case);
        if ours != *theirs {
            differing.push(format!("{:?}\n  ours {ours}, Apache's {theirs}\n  {:?}", case.expression, case.properties));
        }
    }
    assert!(differing.is_empty(), "{} differ:\n{}", differing.len(), differing[..differing.len().min(8)].join("\n"));
    // A generator that draws refused expressions alone would show nothing.
    for letter in ['t', 'f', 'n', 'e', 'r'] {
        let count = theirs.iter().filter(|outcome| outcome.contains(letter)).count();
        assert!(count * 50 > cases.len(), "only {count} of {} have the outcome {letter}", cases.len());
    }
}

#[test]
fn generated_expressions_have_apaches_outcome() {
    let apache = match Apache::locate() {
        Ok(apache) => apache,
        Err(missing) => return say(&format!("skipped: {missing}")),
    };
    let seed = Seed::of("filter_peers", "generated_expressions_have_apaches_outcome");
    let mut random = seed.random(1);
    for _ in 0..rounds(2) {
        let case = |_| FilterCase {
            expression: expression(&mut random),
            properties: (0..8).map(|_| properties(&mut random)).collect(),
        };
        let cases: Vec<FilterCase> = (0..EXPRESSIONS).map(case).collect();
        check(&apache, &cases);
    }
}

#[test]
fn pulls_and_checks_are_answered_as_by_apache() {
    let apache = match Apache::locate() {
        Ok(apache) => apache,
        Err(missing) => return say(&format!("skipped: {missing}")),
    };
    let name_server = apache.start_name_server().expect("it starts");
    let mut options = BrokerOptions::small(&name_server.address());
    options.more.push(("enablePropertyFilter".to_owned(), "true".to_owned()));
    let broker = apache.start_broker(&options).expect("it starts");
    let more = vec![("enablePropertyFilter", "true".to_owned())];
    let node = Node::start(&NodeOptions { more, ..NodeOptions::default() });
    let theirs = raw::run(&broker.address()).expect("Apache answers");
    let ours = raw::run(&node.broker(0)).expect("ringmq answers");
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.len(), theirs.len());

    // It means to refuse, and delivers what was not asked for; ringmq refuses. Nor does it find tags where the language is an empty text.
    let theirs = raw::run_wrong(&broker.address()).expect("Apache answers");
    let everything = "m0,m1,m2,m3,m4,m5,m6,m7,m8";
    assert!(theirs[1].ends_with(everything) && theirs[2].ends_with(everything), "{theirs:?}");
    assert!(theirs[3].contains("code 20"), "{theirs:?}");
    let ours = raw::run_wrong(&node.broker(0)).expect("ringmq answers");
    assert!(ours[1].ends_with("code 23") && ours[2].ends_with("code 23"), "{ours:?}");
    assert!(ours[3].contains("code 0 next 9 m0,m4"), "{ours:?}");
}
