//! What is open as lines for `nft`, to be loaded together with the rules.

use std::fmt::Write as _;
use std::time::Duration;

use super::element::{NAMED_BY_POLICY, set_of};
use crate::core::config::TableName;
use crate::core::lease::{Key, Ports, StaticGrant};
use crate::core::ledger::{Change, Ledger};
use crate::core::statics::StaticLedger;
use crate::core::time::Moment;

/// The longest comment that `nft` takes (`NFTNL_UDATA_COMMENT_MAXLEN`); the
/// kernel takes more.
const COMMENT_LENGTH: usize = 128;

/// The lines that add what is live of `ledger` and `statics` to the sets of
/// `table`.
pub(super) fn text(table: &TableName, ledger: &Ledger, statics: &StaticLedger, now: Moment) -> String {
    let mut text = String::new();
    for key in ledger.live(now) {
        if let Some(Change::Set { lifetime, comment, .. }) = ledger.change(&key, now, false) {
            let comment = shortened(&comment);
            let comment = if comment.is_empty() { String::new() } else { format!(" comment \"{comment}\"") };
            let (set, place, time) = (set_of(&key), place(&key), time(lifetime));
            _ = writeln!(text, "add element inet {} {set} {{ {place}{time}{comment} }}", table.as_str());
        }
    }
    for (grant, term) in statics.live(now) {
        let set = if grant.first.is_ipv4() { "static4" } else { "static6" };
        let (area, time) = (area(grant), term.left(now).map(time).unwrap_or_default());
        let table = table.as_str();
        _ = writeln!(text, "add element inet {table} {set} {{ {area}{time} comment \"{NAMED_BY_POLICY}\" }}");
    }
    text
}

/// Whether the comment of a change is too long for [`text`].
pub(super) fn is_cut_short(change: &Change) -> bool {
    matches!(change, Change::Set { comment, .. } if comment.len() > COMMENT_LENGTH)
}

/// As many whole names as there is room for.
fn shortened(comment: &str) -> &str {
    if comment.len() <= COMMENT_LENGTH {
        return comment;
    }
    let room = comment.get(..=COMMENT_LENGTH).unwrap_or_default();
    room.rsplit_once(' ').map_or("", |(names, _)| names)
}

fn place(key: &Key) -> String {
    let Key { client, address, protocol, ports } = key;
    match ports {
        Ports::All => format!("{client} . {address} . {protocol}"),
        Ports::One(port) => format!("{client} . {address} . {protocol} . {port}"),
        Ports::Run(run) => format!("{client} . {address} . {protocol} . {}", ends(run.first(), run.last())),
    }
}

fn area(grant: &StaticGrant) -> String {
    let StaticGrant { client, first, last, protocol, ports } = grant;
    format!("{client} . {} . {protocol} . {}", ends(first, last), ends(ports.first(), ports.last()))
}

fn ends<T: ToString>(first: T, last: T) -> String {
    let (first, last) = (first.to_string(), last.to_string());
    if first == last { first } else { format!("{first}-{last}") }
}

fn time(lifetime: Duration) -> String {
    // Zero would mean for ever.
    let millis = lifetime.as_millis().max(1);
    format!(" timeout {millis}ms expires {millis}ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_that_is_too_long_is_cut_between_names() {
        let name = |letter: char| letter.to_string().repeat(60);
        let (one, two, three) = (name('a'), name('b'), name('c'));
        assert_eq!(shortened(&format!("{one} {two} {three}")), format!("{one} {two}"));
        assert_eq!(shortened(&format!("{one} {two}")), format!("{one} {two}"));
        assert_eq!(shortened(&"x".repeat(129)), "");
        assert_eq!(shortened(&"x".repeat(128)), "x".repeat(128));
        assert_eq!(shortened(&format!("{} b", "x".repeat(128))), "x".repeat(128));
    }
}
