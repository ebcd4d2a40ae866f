//! One attempt: what it is, what a wall can be expected to do about it, and
//! the marks by which it is recognised wherever it arrives.

use std::io;

use crate::aim::Aim;

/// What an attempt says of itself. It decides nothing: what counts is what
/// arrives.
pub type Outcome = io::Result<String>;

/// A way out.
pub struct Attempt {
    /// What it is called, the same in every run with the same aim.
    pub id: String,
    /// What it does.
    pub what: String,
    /// Whom it takes.
    pub needs: Needs,
    /// How it is to be judged where it is not the usual way.
    pub note: Note,
    /// Tries it.
    pub work: Box<dyn Fn(&Try<'_>) -> Outcome>,
}

/// Whom an attempt takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Any user.
    User,
    /// Root with Docker's default capabilities.
    Root,
}

/// What is expected of it: without a wall that it arrives, and behind a wall
/// that it does not, unless one of these says otherwise.
#[derive(Clone, Copy, Default)]
pub struct Note {
    /// It has to work behind every wall.
    pub control: bool,
    /// Why it may not arrive even without a wall.
    pub without: Option<&'static str>,
    /// Why a wall in the container's own namespace cannot promise it.
    pub sidecar: Option<&'static str>,
}

/// One try of an attempt.
pub struct Try<'a> {
    /// What to aim at.
    pub aim: &'a Aim,
    /// The token: in payloads, and a label of the DNS as well.
    pub token: String,
    /// The source port that only this attempt uses.
    pub port: u16,
}

impl Try<'_> {
    /// The token as octets.
    pub fn payload(&self) -> &[u8] {
        self.token.as_bytes()
    }

    /// So many octets, the token over and over, so that each fragment has it.
    pub fn payload_of(&self, octets: usize) -> Vec<u8> {
        self.payload().iter().copied().cycle().take(octets).collect()
    }

    /// A name that nothing permits, with the token in it.
    pub fn denied_name(&self) -> String {
        format!("{}.{}", self.token, self.aim.denied)
    }
}

impl Attempt {
    /// An attempt that any user can make.
    pub fn new(id: impl Into<String>, what: impl Into<String>, work: impl Fn(&Try<'_>) -> Outcome + 'static) -> Self {
        Self { id: id.into(), what: what.into(), needs: Needs::User, note: Note::default(), work: Box::new(work) }
    }

    /// The same for root alone.
    pub fn root(mut self) -> Self {
        self.needs = Needs::Root;
        self
    }

    /// It may not arrive even without a wall.
    pub fn may_fail(mut self, why: &'static str) -> Self {
        self.note.without = Some(why);
        self
    }

    /// A sidecar cannot promise to stop it.
    pub fn beyond_sidecar(mut self, why: &'static str) -> Self {
        self.note.sidecar = Some(why);
        self
    }

    /// It has to work behind every wall.
    pub fn control(mut self) -> Self {
        self.note.control = true;
        self
    }
}

/// The token of an attempt: letters, digits and hyphens, 16 octets.
pub fn token(run: &str, number: usize) -> String {
    format!("{MARK}{run}-{number:03}")
}

/// How every token begins.
pub const MARK: &str = "cwb-";

/// The numbers of attempts whose token of this run is in these octets, in
/// whatever case.
pub fn tokens_in(run: &str, octets: &[u8]) -> Vec<usize> {
    let start = format!("{MARK}{run}-");
    let length = start.len() + 3;
    let found = octets.windows(length).filter(|window| window[..start.len()].eq_ignore_ascii_case(start.as_bytes()));
    let numbers = found.filter_map(|window| std::str::from_utf8(&window[start.len()..]).ok()?.parse().ok());
    let mut numbers: Vec<usize> = numbers.collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_wherever_it_is_and_however_it_is_written() {
        let octets = format!("x{}\0\x10{}y", token("00c0ffee", 7), token("00c0ffee", 123).to_uppercase());
        assert_eq!(tokens_in("00c0ffee", octets.as_bytes()), [7, 123]);
        assert_eq!(tokens_in("00000000", octets.as_bytes()), Vec::<usize>::new());
    }
}
