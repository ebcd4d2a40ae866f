//! A TOML document as the reader of a configuration sees it: tables that know
//! their keys, values that know their place, and every problem collected.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::value::Fault;
use crate::core::problem::{Place, Problem, nearest};

/// Problems beyond this many are only counted: nobody reads more, and finding
/// each one's line means counting lines from the start of the text.
const MAX_PROBLEMS: usize = 50;

/// Every table's name, and its keys.
type Known = [(&'static str, &'static [&'static str])];

/// A whole file.
pub(super) struct Document<'t> {
    root: DeTable<'t>,
    known: &'static Known,
    problems: Problems<'t>,
}

impl<'t> Document<'t> {
    /// Reads `text`, and notes top-level keys that are not `known`.
    pub(super) fn parse(file: &'t str, text: &'t str, known: &'static Known) -> Result<Self, Vec<Problem>> {
        let problems = Problems { file, text, listed: RefCell::default(), unlisted: Cell::default() };
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let message = format!("this is not TOML: {}", error.message());
            problems.refuse(error.span().map_or(0, |span| span.start), message, None);
        }
        if !errors.is_empty() {
            return Err(problems.sorted());
        }
        let root = root.into_inner();
        for key in root.keys() {
            problems.refuse_unknown(key, "table", known.iter().map(|(name, _)| *name));
        }
        Ok(Self { root, known, problems })
    }

    /// The table `[name]`; an empty one where the file has none.
    pub(super) fn table(&self, name: &'static str) -> Table<'_> {
        let Some((key, value)) = self.root.get_key_value(name) else {
            return Table { name, at: 0, entries: None, problems: &self.problems };
        };
        let at = key.span().start;
        let entries = value.get_ref().as_table();
        if entries.is_none() {
            self.problems.refuse(at, format!("`{name}` is a table of its own"), Some(format!("write it as [{name}]")));
        }
        self.checked(Table { name, at, entries, problems: &self.problems })
    }

    /// Every table `[[name]]` in the file's order; `None` if `name` is
    /// something else.
    pub(super) fn tables(&self, name: &'static str) -> Option<Vec<Table<'_>>> {
        let Some((key, value)) = self.root.get_key_value(name) else {
            return Some(Vec::new());
        };
        self.list(name, key.span().start, value)
    }

    /// Every table `[[name]]`, which stand at `key` of `table`.
    pub(super) fn tables_in<'d>(
        &'d self,
        table: &Table<'d>,
        key: &'static str,
        name: &'static str,
    ) -> Option<Vec<Table<'d>>> {
        let Some(value) = table.value(key) else {
            return Some(Vec::new());
        };
        self.list(name, value.span().start, value)
    }

    fn list<'d>(&'d self, name: &'static str, at: usize, value: &'d Spanned<DeValue<'d>>) -> Option<Vec<Table<'d>>> {
        let tables: Option<Vec<_>> = value.get_ref().as_array().and_then(|items| items.iter().map(table_of).collect());
        if tables.is_none() {
            let help = format!("write each one as [[{name}]]");
            self.problems.refuse(at, format!("`{name}` is a list of tables"), Some(help));
        }
        let checked =
            |(at, entries)| self.checked(Table { name, at, entries: Some(entries), problems: &self.problems });
        Some(tables?.into_iter().map(checked).collect())
    }

    /// Notes an error about the file as a whole.
    pub(super) fn refuse(&self, message: &str, help: &str) {
        self.problems.refuse(0, message.to_owned(), Some(help.to_owned()));
    }

    /// What was read, if nothing was wrong.
    pub(super) fn finish<T>(self, read: Option<T>) -> Result<T, Vec<Problem>> {
        match read {
            Some(read) if self.problems.is_empty() => Ok(read),
            _ => Err(self.problems.sorted()),
        }
    }

    fn checked<'d>(&'d self, table: Table<'d>) -> Table<'d> {
        let keys = self.known.iter().find(|(name, _)| *name == table.name).map_or(&[][..], |(_, keys)| keys);
        for key in table.entries.into_iter().flat_map(DeTable::keys) {
            self.problems.refuse_unknown(key, &format!("key in [{}]", table.name), keys.iter().copied());
        }
        table
    }
}

/// One table of the file.
pub(super) struct Table<'d> {
    name: &'static str,
    at: usize,
    entries: Option<&'d DeTable<'d>>,
    problems: &'d Problems<'d>,
}

impl<'d> Table<'d> {
    /// The string at `key`, through `parse`.
    pub(super) fn text<T>(&self, key: &'static str, parse: impl Fn(&str) -> Result<T, Fault>) -> Found<'_, 'd, T> {
        let found = self.value(key).map(|value| self.parse_text(key, value, &parse));
        Found { table: self, key, found }
    }

    /// The list of strings at `key`, each through `parse`.
    pub(super) fn texts<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> Found<'_, 'd, Vec<Spotted<T>>> {
        let found = self.value(key).map(|value| {
            let Some(items) = value.get_ref().as_array() else {
                let message = format!("`{}` is a list, not {}", self.dotted(key), kind(value));
                self.refuse(value.span().start, message, "write it between [ and ], each entry in quotes");
                return None;
            };
            self.parse_texts(key, items.iter(), &parse)
        });
        Found { table: self, key, found }
    }

    /// The list of strings at `key`, or the one string, each through `parse`.
    pub(super) fn text_or_texts<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, Fault>,
    ) -> Found<'_, 'd, Vec<Spotted<T>>> {
        let found = self.value(key).map(|value| match value.get_ref().as_array() {
            Some(items) => self.parse_texts(key, items.iter(), &parse),
            None => self.parse_texts(key, std::iter::once(value), &parse),
        });
        Found { table: self, key, found }
    }

    fn parse_texts<'v, T>(
        &self,
        key: &'static str,
        items: impl Iterator<Item = &'v Spanned<DeValue<'v>>>,
        parse: &impl Fn(&str) -> Result<T, Fault>,
    ) -> Option<Vec<Spotted<T>>> {
        let read = |item: &'v Spanned<DeValue<'v>>| {
            let value = self.parse_text(key, item, parse)?;
            Some(Spotted { value, offset: item.span().start })
        };
        // Every item is parsed before the first bad one ends the list.
        let items: Vec<_> = items.map(read).collect();
        items.into_iter().collect()
    }

    /// The whole number at `key`, if it lies in `allowed`.
    pub(super) fn number(&self, key: &'static str, allowed: RangeInclusive<u32>) -> Found<'_, 'd, u32> {
        let found = self.value(key).map(|value| {
            let number = value.get_ref().as_integer().and_then(|integer| {
                u32::from_str_radix(integer.as_str(), integer.radix()).ok().filter(|number| allowed.contains(number))
            });
            if number.is_none() {
                let message = format!("`{}` cannot be this", self.dotted(key));
                let help = format!("write a whole number from {} to {}", allowed.start(), allowed.end());
                self.refuse(value.span().start, message, help);
            }
            number
        });
        Found { table: self, key, found }
    }

    /// `true` or `false` at `key`.
    pub(super) fn flag(&self, key: &'static str) -> Found<'_, 'd, bool> {
        let found = self.value(key).map(|value| {
            let flag = value.get_ref().as_bool();
            if flag.is_none() {
                let message = format!("`{}` is true or false, not {}", self.dotted(key), kind(value));
                self.refuse(value.span().start, message, "write true or false, without quotes");
            }
            flag
        });
        Found { table: self, key, found }
    }

    /// Whether the file sets `key`.
    pub(super) fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    /// The key with its table's name in front.
    pub(super) fn dotted(&self, key: &str) -> String {
        format!("{}.{key}", self.name)
    }

    /// Notes an error at `offset` of the file.
    pub(super) fn refuse(&self, offset: usize, message: impl Into<String>, help: impl Into<String>) {
        self.problems.refuse(offset, message.into(), Some(help.into()));
    }

    /// Notes an error at the value of `key`, or at the table where it has
    /// none.
    pub(super) fn refuse_key(&self, key: &str, message: impl Into<String>, help: impl Into<String>) {
        self.refuse(self.value(key).map_or(self.at, |value| value.span().start), message, help);
    }

    fn value(&self, key: &str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.entries?.get(key)
    }

    fn parse_text<T>(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        parse: &impl Fn(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        let Some(text) = value.get_ref().as_str() else {
            let message = format!("`{}` takes text, not {}", self.dotted(key), kind(value));
            self.refuse(value.span().start, message, "write it in quotes");
            return None;
        };
        parse(text)
            .map_err(|fault| {
                let message = format!("`{}` cannot be {text:?}: {}", self.dotted(key), fault.message);
                self.refuse(value.span().start, message, fault.help);
            })
            .ok()
    }
}

/// What stood at a key: nothing, something bad that is already noted, or a
/// value.
#[must_use]
pub(super) struct Found<'s, 'd, T> {
    table: &'s Table<'d>,
    key: &'static str,
    found: Option<Option<T>>,
}

impl<T> Found<'_, '_, T> {
    /// The value, or `default` where nothing stood; `None` if it was bad.
    pub(super) fn or(self, default: T) -> Option<T> {
        self.found.unwrap_or(Some(default))
    }

    /// The value; where nothing stood, that is an error.
    pub(super) fn or_missing(self, help: &str) -> Option<T> {
        self.found.unwrap_or_else(|| {
            let message = format!("`{}` is missing", self.table.dotted(self.key));
            self.table.refuse(self.table.at, message, help);
            None
        })
    }
}

/// A value, and the offset in the file where it stands.
pub(super) struct Spotted<T> {
    pub(super) value: T,
    pub(super) offset: usize,
}

struct Problems<'t> {
    file: &'t str,
    text: &'t str,
    listed: RefCell<Vec<Problem>>,
    unlisted: Cell<usize>,
}

impl Problems<'_> {
    fn refuse(&self, offset: usize, message: String, help: Option<String>) {
        let mut listed = self.listed.borrow_mut();
        if listed.len() == MAX_PROBLEMS {
            self.unlisted.set(self.unlisted.get() + 1);
            return;
        }
        let place = Place::of_offset(self.file, self.text, offset);
        listed.push(Problem { help, ..Problem::error(place, message) });
    }

    fn refuse_unknown<'k>(
        &self,
        key: &Spanned<Cow<'_, str>>,
        what: &str,
        known: impl Iterator<Item = &'k str> + Clone,
    ) {
        let name = key.get_ref().as_ref();
        if known.clone().any(|known| known == name) {
            return;
        }
        let help = match nearest(name, known.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are: {}", known.collect::<Vec<_>>().join(", ")),
        };
        self.refuse(key.span().start, format!("there is no {what} named {name:?}"), Some(help));
    }

    fn is_empty(&self) -> bool {
        self.listed.borrow().is_empty()
    }

    /// All of them in the order of the file.
    fn sorted(self) -> Vec<Problem> {
        let mut listed = self.listed.into_inner();
        listed.sort_by(|left, right| left.place.cmp(&right.place));
        if self.unlisted.get() > 0 {
            listed.push(Problem::error(None, format!("and {} more", self.unlisted.get())));
        }
        listed
    }
}

/// Where a table of a list starts, and its entries.
fn table_of<'v, 't>(item: &'v Spanned<DeValue<'t>>) -> Option<(usize, &'v DeTable<'t>)> {
    item.get_ref().as_table().map(|entries| (item.span().start, entries))
}

/// What a value is, in words.
fn kind(value: &Spanned<DeValue<'_>>) -> &'static str {
    match value.get_ref() {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
