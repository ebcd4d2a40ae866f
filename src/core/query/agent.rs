//! [`Agent`]: as whom a client acts.

use std::fmt;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// The id of the Cedar principal a client acts as: `claude` of
/// `Agent::"claude"`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Agent(Arc<Person>);

#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Person {
    id: Box<str>,
    team: Option<Box<str>>,
}

impl Serialize for Agent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Agent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl Agent {
    /// Parses an agent's id: 1 to 128 printable characters, none of which
    /// needs an escape inside a Cedar string or a log line.
    ///
    /// # Errors
    /// Any other text.
    pub fn parse(text: &str) -> Result<Self, AgentError> {
        let plain = |character: char| !character.is_control() && character != '"' && character != '\\';
        let length = text.chars().count();
        if length == 0 || length > 128 || !text.chars().all(plain) {
            return Err(AgentError);
        }
        Ok(Self(Arc::new(Person { id: text.into(), team: None })))
    }

    /// The same principal, and in `team`, whatever other teams it is in. Whose
    /// teams differ are not equal.
    ///
    /// # Errors
    /// What could not be an agent's id is no team's either.
    pub fn in_team(&self, team: &str) -> Result<Self, AgentError> {
        Self::parse(team)?;
        Ok(Self(Arc::new(Person { id: self.0.id.clone(), team: Some(team.into()) })))
    }

    /// The same principal, whatever team it was put in: as it is counted and
    /// told of.
    pub fn without_team(&self) -> Self {
        match self.0.team {
            Some(_) => Self(Arc::new(Person { id: self.0.id.clone(), team: None })),
            None => self.clone(),
        }
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0.id
    }

    /// The id of the team it was put in.
    pub fn team(&self) -> Option<&str> {
        self.0.team.as_deref()
    }
}

impl fmt::Display for Agent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.team() {
            Some(team) => write!(formatter, "Agent({self} in {team})"),
            None => write!(formatter, "Agent({self})"),
        }
    }
}

/// The text is no [`Agent`] id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("an agent's name has 1 to 128 characters, without quotes, backslashes and control characters")]
pub struct AgentError;
