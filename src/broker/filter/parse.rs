//! From the words of an SQL92 expression to its terms.
//!
//! Each level of RocketMQ's grammar is a function. Only brackets and the signs before an operand call the first level again, and their
//! depth is bounded; chains of operators are loops. Source: RocketMQ `SelectorParser.jj`, and for what an operator takes
//! `ComparisonExpression` and `UnaryExpression`.

use super::sql::{FilterError, Order, Range, Term, TermId, TextPart, head};
use super::token::{Token, Words, place};
use super::value::{Operand, compare};
use crate::limits::{EXPRESSION_BYTES_MAX, FILTER_DEPTH_MAX, FILTER_PROPERTIES_MAX, FILTER_TERMS_MAX};

/// What an expression comes to: terms, and the tables that they refer to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Program {
    pub(super) terms: Vec<Term>,
    pub(super) root: TermId,
    /// Of AND and OR.
    pub(super) operands: Vec<TermId>,
    pub(super) lists: Vec<Range>,
    /// The names of properties, sorted.
    pub(super) names: Vec<Box<str>>,
    /// The [`head`] of each name.
    pub(super) name_heads: Vec<u64>,
    /// The texts of literals, one behind the other.
    texts: String,
}

impl Program {
    pub(super) fn text(&self, range: Range) -> &str {
        &self.texts[range.from as usize..range.to as usize]
    }
}

/// Compiles an expression.
pub(super) fn parse(expression: &str) -> Result<Program, FilterError> {
    if expression.len() > EXPRESSION_BYTES_MAX {
        return Err(FilterError::TooLong { bytes: expression.len() });
    }
    let mut words = Words::of(expression);
    let (token, at) = words.next()?;
    let program = Program::default();
    let mut parser = Parser {
        expression,
        words,
        token,
        at,
        program,
        names: Vec::new(),
        depths: Vec::new(),
        pending: Vec::new(),
        depth: 0,
    };
    let root = parser.any()?;
    parser.program.root = parser.condition(root)?;
    Ok(parser.with_sorted_names())
}

struct Parser<'a> {
    expression: &'a str,
    words: Words<'a>,
    /// The word that is next, and where it begins.
    token: Token<'a>,
    at: usize,
    program: Program,
    /// In the order in which they came.
    names: Vec<&'a str>,
    /// How deep the tree below each term is.
    depths: Vec<u16>,
    /// Operands of chains that have not ended.
    pending: Vec<TermId>,
    /// Of brackets and signs.
    depth: usize,
}

impl<'a> Parser<'a> {
    fn advance(&mut self) -> Result<(), FilterError> {
        (self.token, self.at) = self.words.next()?;
        Ok(())
    }

    fn unexpected<T>(&self, expected: &'static str) -> Result<T, FilterError> {
        let end = self.words;
        let mut behind = end;
        let found = match (self.token, behind.next()) {
            (Token::EndOfText, _) => "the end".to_owned(),
            (_, Ok((_, next))) => self.expression[self.at..next].trim_end().chars().take(32).collect(),
            (_, Err(_)) => self.expression[self.at..].chars().take(32).collect(),
        };
        Err(FilterError::Unexpected { found, place: self.place(), expected })
    }

    fn place(&self) -> (usize, usize) {
        place(self.expression, self.at)
    }

    fn expect(&mut self, token: Token<'_>, expected: &'static str) -> Result<(), FilterError> {
        if self.token == token { self.advance() } else { self.unexpected(expected) }
    }

    /// `below`: how deep the deepest operand is.
    fn push_over(&mut self, term: Term, below: u16) -> Result<TermId, FilterError> {
        let id = self.program.terms.len();
        if id >= FILTER_TERMS_MAX {
            return Err(FilterError::TooManyParts);
        }
        if usize::from(below) >= FILTER_DEPTH_MAX {
            return Err(FilterError::TooDeep);
        }
        self.program.terms.push(term);
        self.depths.push(below + 1);
        Ok(TermId::try_from(id).expect("bounded above"))
    }

    fn push(&mut self, term: Term, operands: &[TermId]) -> Result<TermId, FilterError> {
        let below = operands.iter().map(|operand| self.depths[usize::from(*operand)]).max();
        self.push_over(term, below.unwrap_or(0))
    }

    fn term(&self, id: TermId) -> Term {
        self.program.terms[usize::from(id)]
    }

    /// A term where a condition is due.
    fn condition(&mut self, id: TermId) -> Result<TermId, FilterError> {
        match self.term(id) {
            Term::Property(_) => self.push(Term::Condition(id), &[id]),
            term if is_condition(term) => Ok(id),
            _ => Err(FilterError::NotBoolean { place: self.place() }),
        }
    }

    fn not_comparable<T>(&self, why: &'static str) -> Result<T, FilterError> {
        Err(FilterError::NotComparable { place: self.place(), why })
    }

    /// OR of many.
    fn any(&mut self) -> Result<TermId, FilterError> {
        self.chain(Token::Or, Self::every, Term::Or)
    }

    /// AND of many.
    fn every(&mut self) -> Result<TermId, FilterError> {
        self.chain(Token::And, Self::equality, Term::And)
    }

    fn chain(
        &mut self,
        between: Token<'_>,
        operand: fn(&mut Self) -> Result<TermId, FilterError>,
        make: fn(Range) -> Term,
    ) -> Result<TermId, FilterError> {
        let first = operand(self)?;
        if self.token != between {
            return Ok(first);
        }
        let begin = self.pending.len();
        let first = self.condition(first)?;
        self.pending.push(first);
        while self.token == between {
            self.advance()?;
            let next = operand(self)?;
            let next = self.condition(next)?;
            self.pending.push(next);
        }
        let table = &mut self.program.operands;
        let from = table.len();
        table.extend(self.pending.drain(begin..));
        let below = table[from..].iter().map(|operand| self.depths[usize::from(*operand)]).max();
        let operands = range(from, table.len());
        self.push_over(make(operands), below.unwrap_or(0))
    }

    /// `=`, `<>`, `IS NULL`, `IS NOT NULL`.
    fn equality(&mut self) -> Result<TermId, FilterError> {
        let mut left = self.comparison()?;
        loop {
            let is_not = match self.token {
                Token::Equal | Token::NotEqual => {
                    let is_not = self.token == Token::NotEqual;
                    self.advance()?;
                    let right = self.comparison()?;
                    self.check_equal(left, right)?;
                    left = self.push(Term::Equal(left, right), &[left, right])?;
                    is_not
                }
                Token::Is => {
                    self.advance()?;
                    let is_not = self.token == Token::Not;
                    if is_not {
                        self.advance()?;
                    }
                    self.expect(Token::Null, "NULL or NOT NULL")?;
                    left = self.push(Term::IsNull(left), &[left])?;
                    is_not
                }
                _ => return Ok(left),
            };
            if is_not {
                left = self.push(Term::Not(left), &[left])?;
            }
        }
    }

    fn check_equal(&self, left: TermId, right: TermId) -> Result<(), FilterError> {
        let (left, right) = (self.term(left), self.term(right));
        if left == Term::Null || right == Term::Null {
            return self.not_comparable("NULL is asked for with IS");
        }
        if matches!(left, Term::Boolean(_)) && is_constant(right) && !is_condition(right) {
            return self.not_comparable("a boolean and something else");
        }
        Ok(())
    }

    /// What takes operands without conditions in them, or texts.
    fn comparison(&mut self) -> Result<TermId, FilterError> {
        let mut left = self.unary()?;
        loop {
            let order = match self.token {
                Token::Greater => Order::Greater,
                Token::GreaterOrEqual => Order::GreaterOrEqual,
                Token::Less => Order::Less,
                Token::LessOrEqual => Order::LessOrEqual,
                Token::Not | Token::Between | Token::In | Token::Contains | Token::StartsWith | Token::EndsWith => {
                    left = self.worded(left)?;
                    continue;
                }
                _ => return Ok(left),
            };
            self.advance()?;
            let right = self.unary()?;
            self.check_ordered(left)?;
            self.check_ordered(right)?;
            left = self.push(Term::Order(order, left, right), &[left, right])?;
        }
    }

    /// `[NOT] BETWEEN`, `IN`, `CONTAINS`, `STARTSWITH`, `ENDSWITH`.
    fn worded(&mut self, left: TermId) -> Result<TermId, FilterError> {
        let is_not = self.token == Token::Not;
        if is_not {
            self.advance()?;
        }
        let word = self.token;
        let part = match word {
            Token::Between | Token::In => None,
            Token::Contains => Some(TextPart::Anywhere),
            Token::StartsWith => Some(TextPart::Prefix),
            Token::EndsWith => Some(TextPart::Suffix),
            _ => return self.unexpected("BETWEEN, IN, CONTAINS, STARTSWITH or ENDSWITH"),
        };
        self.advance()?;
        if let Some(part) = part {
            let text = self.text()?;
            return self.push(Term::Find { is_not, part, value: left, text }, &[left]);
        }
        if word == Token::In { self.listed(left, is_not) } else { self.between(left, is_not) }
    }

    fn between(&mut self, value: TermId, is_not: bool) -> Result<TermId, FilterError> {
        let low = self.unary()?;
        self.expect(Token::And, "AND")?;
        let high = self.unary()?;
        for operand in [value, low, high] {
            self.check_ordered(operand)?;
        }
        if let (false, Some(low), Some(high)) = (is_not, number(self.term(low)), number(self.term(high)))
            && compare(high, low).is_ok_and(std::cmp::Ordering::is_lt)
        {
            return self.not_comparable("the first bound of BETWEEN is not to be greater than the second");
        }
        self.push(Term::Between { is_not, value, low, high }, &[value, low, high])
    }

    fn listed(&mut self, property: TermId, is_not: bool) -> Result<TermId, FilterError> {
        self.expect(Token::Open, "a bracket")?;
        let from = self.program.lists.len();
        loop {
            let text = self.text()?;
            self.program.lists.push(text);
            if self.token != Token::Comma {
                break;
            }
            self.advance()?;
        }
        self.expect(Token::Close, "a comma or the list's closing bracket")?;
        if !matches!(self.term(property), Term::Property(_)) {
            return self.not_comparable("IN takes a property");
        }
        let Program { texts, lists, .. } = &mut self.program;
        let text = |range: &Range| &texts[range.from as usize..range.to as usize];
        lists[from..].sort_unstable_by(|left, right| text(left).cmp(text(right)));
        let list = range(from, lists.len());
        self.push(Term::In { is_not, property, list }, &[property])
    }

    fn check_ordered(&self, operand: TermId) -> Result<(), FilterError> {
        match self.term(operand) {
            term if is_condition(term) => self.not_comparable("a condition has no order"),
            Term::Text(_) => self.not_comparable("a text has no order"),
            _ => Ok(()),
        }
    }

    /// Signs and NOT before an operand.
    fn unary(&mut self) -> Result<TermId, FilterError> {
        let sign = self.token;
        if !matches!(sign, Token::Plus | Token::Minus | Token::Not) {
            return self.primary();
        }
        self.advance()?;
        self.enter()?;
        let operand = self.unary()?;
        self.depth -= 1;
        match sign {
            Token::Minus => self.push(Term::Negated(operand), &[operand]),
            Token::Not => {
                let operand = self.condition(operand)?;
                self.push(Term::Not(operand), &[operand])
            }
            _ => Ok(operand),
        }
    }

    fn enter(&mut self) -> Result<(), FilterError> {
        self.depth += 1;
        if self.depth > FILTER_DEPTH_MAX { Err(FilterError::TooDeep) } else { Ok(()) }
    }

    fn primary(&mut self) -> Result<TermId, FilterError> {
        let term = match self.token {
            Token::Open => {
                self.advance()?;
                self.enter()?;
                let inner = self.any()?;
                self.depth -= 1;
                self.expect(Token::Close, "a closing bracket")?;
                return Ok(inner);
            }
            Token::Text(_) => {
                let text = self.text()?;
                return self.push(Term::Text(text), &[]);
            }
            Token::Name(name) => Term::Property(self.name(name)?),
            Token::Decimal(text) => decimal(text)?,
            Token::Float(text) => float(text)?,
            Token::True => Term::Boolean(true),
            Token::False => Term::Boolean(false),
            Token::Null => Term::Null,
            _ => return self.unexpected("a property, a literal or a bracket"),
        };
        self.advance()?;
        self.push(term, &[])
    }

    /// A text literal, put among the others.
    fn text(&mut self) -> Result<Range, FilterError> {
        let Token::Text(quoted) = self.token else { return self.unexpected("a text in single quotes") };
        self.advance()?;
        let texts = &mut self.program.texts;
        let from = texts.len();
        for (index, piece) in quoted.split("''").enumerate() {
            if index > 0 {
                texts.push('\'');
            }
            texts.push_str(piece);
        }
        Ok(range(from, texts.len()))
    }

    fn name(&mut self, name: &'a str) -> Result<u16, FilterError> {
        let known = self.names.iter().position(|known| *known == name);
        let index = known.unwrap_or(self.names.len());
        if known.is_none() {
            if index >= FILTER_PROPERTIES_MAX {
                return Err(FilterError::TooManyProperties);
            }
            self.names.push(name);
        }
        Ok(u16::try_from(index).expect("bounded above"))
    }

    /// Sorts the names, and lets the terms know.
    fn with_sorted_names(mut self) -> Program {
        let mut names = self.names.clone();
        names.sort_unstable();
        for term in &mut self.program.terms {
            if let Term::Property(index) = term {
                let sorted = names.binary_search(&self.names[usize::from(*index)]).expect("they are the same names");
                *index = u16::try_from(sorted).expect("bounded by the number of names");
            }
        }
        self.program.name_heads = names.iter().map(|name| head(name.as_bytes(), 0, name.len())).collect();
        self.program.names = names.into_iter().map(Box::from).collect();
        self.program
    }
}

fn range(from: usize, to: usize) -> Range {
    let number = |at| u32::try_from(at).expect("an expression is bounded");
    Range { from: number(from), to: number(to) }
}

/// What Java knows to be a condition, literals among them.
fn is_condition(term: Term) -> bool {
    !matches!(
        term,
        Term::Int(_) | Term::Long(_) | Term::Double(_) | Term::Text(_) | Term::Property(_) | Term::Negated(_)
    )
}

fn is_constant(term: Term) -> bool {
    matches!(term, Term::Null | Term::Boolean(_) | Term::Int(_) | Term::Long(_) | Term::Double(_) | Term::Text(_))
}

fn number(term: Term) -> Option<Operand<'static>> {
    match term {
        Term::Int(number) => Some(Operand::Int(number)),
        Term::Long(number) => Some(Operand::Long(number)),
        Term::Double(number) => Some(Operand::Double(number)),
        _ => None,
    }
}

/// An int if it fits, else a long.
fn decimal(text: &str) -> Result<Term, FilterError> {
    let long: i64 = text
        .trim_end_matches(['l', 'L'])
        .parse()
        .map_err(|_| FilterError::OutOfRange { text: text.chars().take(32).collect() })?;
    Ok(i32::try_from(long).map_or(Term::Long(long), Term::Int))
}

/// A double that is neither infinite nor, as RocketMQ compares with the least one above zero, zero.
fn float(text: &str) -> Result<Term, FilterError> {
    match text.parse() {
        Ok(number) if f64::is_finite(number) && number > 0.0 => Ok(Term::Double(number)),
        _ => Err(FilterError::OutOfRange { text: text.chars().take(32).collect() }),
    }
}
