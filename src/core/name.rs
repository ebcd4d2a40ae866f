//! [`Name`]: a host name in the one form that policies, leases and logs share.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// Longest textual form without the trailing dot (RFC 1035 section 3.1: 255
/// octets on the wire, of which two are the first length and the root).
const MAX_TEXT: usize = 253;
/// Longest label (RFC 1035 section 3.1).
const MAX_LABEL: usize = 63;

/// A canonical host name: lower case, no trailing dot, IDNA A-labels, each
/// label made of letters, digits, `-` and `_`.
///
/// The alphabet is narrower than DNS allows. A label with a dot, a quote or a
/// control character inside it could be read as another name once it is text;
/// such a name cannot be written in a policy either, so nothing is lost.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// Parses a name as a person writes it: any case, an optional trailing
    /// dot, U-labels allowed (they become A-labels by IDNA 2008 / UTS 46).
    ///
    /// # Errors
    /// Says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_ascii() {
            return Self::canonical(text.to_ascii_lowercase());
        }
        let ascii = idna::domain_to_ascii_strict(text).map_err(|_| NameError::NotIdna)?;
        Self::canonical(ascii)
    }

    /// Builds a name from labels as they came off the wire.
    ///
    /// # Errors
    /// A label with an octet outside the alphabet, or the root itself.
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, NameError> {
        let mut text = String::with_capacity(64);
        for label in labels {
            if !text.is_empty() {
                text.push('.');
            }
            let label = std::str::from_utf8(label).map_err(|_| NameError::Octet)?;
            if label.contains('.') {
                return Err(NameError::Octet);
            }
            text.push_str(label);
        }
        text.make_ascii_lowercase();
        Self::canonical(text)
    }

    fn canonical(text: String) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > MAX_TEXT {
            return Err(NameError::TooLong);
        }
        for label in text.split('.') {
            if label.is_empty() {
                return Err(NameError::EmptyLabel);
            }
            if label.len() > MAX_LABEL {
                return Err(NameError::LabelTooLong);
            }
            let in_alphabet =
                |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-' || octet == b'_';
            if !label.bytes().all(in_alphabet) {
                return Err(NameError::Octet);
            }
        }
        Ok(Self(text.into()))
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The labels, leftmost first.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// The name itself and every domain above it, nearest first, without the
    /// root: `api.example.com`, `example.com`, `com`.
    pub fn ancestors(&self) -> impl Iterator<Item = &str> {
        let whole: &str = &self.0;
        std::iter::successors(Some(whole), |name| name.split_once('.').map(|(_, parent)| parent))
    }

    /// Whether this name is `domain` or lies below it, on label boundaries.
    pub fn is_within(&self, domain: &Self) -> bool {
        self.ancestors().any(|ancestor| ancestor == domain.as_str())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Name({})", self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl serde::Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// A name as a client asked for it: whatever it was, it can be told of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hostname {
    /// It has a canonical form.
    Canonical(Name),
    /// It has none: everything but printable ASCII is escaped.
    Escaped(Arc<str>),
}

impl Hostname {
    /// Its text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Canonical(name) => name.as_str(),
            Self::Escaped(text) => text,
        }
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl From<&str> for Hostname {
    fn from(text: &str) -> Self {
        match Name::parse(text) {
            Ok(name) if name.as_str() == text => Self::Canonical(name),
            _ => Self::Escaped(text.into()),
        }
    }
}

/// Why a text or a run of labels is not a [`Name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// No label at all: the root.
    #[error("the name is empty")]
    Empty,
    /// Over 253 characters.
    #[error("the name is longer than 253 characters")]
    TooLong,
    /// Two dots in a row, or a leading dot.
    #[error("a label of the name is empty")]
    EmptyLabel,
    /// Over 63 characters between two dots.
    #[error("a label of the name is longer than 63 characters")]
    LabelTooLong,
    /// Something other than letters, digits, `-` and `_`.
    #[error("the name has a character other than letters, digits, `-`, `_` and `.`")]
    Octet,
    /// Not valid under IDNA.
    #[error("the name is not a valid internationalized domain name")]
    NotIdna,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn case_and_trailing_dot_do_not_matter() {
        assert_eq!(Name::parse("API.Example.COM."), Name::parse("api.example.com"));
    }

    #[test]
    fn a_u_label_becomes_its_a_label() {
        assert_eq!(Name::parse("Bücher.example").map(|name| name.to_string()), Ok("xn--bcher-kva.example".into()));
    }

    #[test]
    fn ancestors_stop_at_label_boundaries() -> Result<(), NameError> {
        let name = Name::parse("evilexample.com")?;
        assert!(!name.is_within(&Name::parse("example.com")?));
        assert!(Name::parse("a.example.com")?.is_within(&Name::parse("example.com")?));
        assert_eq!(Name::parse("a.b.c")?.ancestors().collect::<Vec<_>>(), ["a.b.c", "b.c", "c"]);
        Ok(())
    }

    #[test]
    fn a_label_with_a_dot_or_a_quote_inside_is_no_name() {
        assert_eq!(Name::from_labels([b"api.example".as_slice(), b"com"]), Err(NameError::Octet));
        assert_eq!(Name::from_labels([b"a\"b".as_slice(), b"com"]), Err(NameError::Octet));
        assert_eq!(Name::from_labels([b"a\0b".as_slice()]), Err(NameError::Octet));
        assert_eq!(Name::from_labels([]), Err(NameError::Empty));
        assert_eq!(Name::parse("a..b"), Err(NameError::EmptyLabel));
        assert_eq!(Name::parse("*.example.com"), Err(NameError::Octet));
    }

    proptest! {
        #[test]
        fn parsing_is_idempotent_and_never_panics(text in ".{0,80}") {
            if let Ok(name) = Name::parse(&text) {
                prop_assert_eq!(Name::parse(name.as_str()), Ok(name.clone()));
                prop_assert_eq!(Name::from_labels(name.labels().map(str::as_bytes)), Ok(name));
            }
        }
    }
}
