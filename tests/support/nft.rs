//! What the kernel holds, as `nft` reads it.

use cedarwall::core::config::TableName;
use cedarwall::nft::element::Renewal;
use cedarwall::nft::transaction::Connection;
use serde_json::Value;

/// One element of a set.
#[derive(Clone, Debug, PartialEq)]
pub struct Element {
    /// Its key's fields, as text.
    pub key: Vec<String>,
    /// Its comment.
    pub comment: Option<String>,
    /// Seconds left.
    pub expires: Option<u64>,
}

/// Runs `test` against a fresh table, once for each way of renewing elements.
pub fn with_table(test: impl Fn(Connection) + Send + 'static) {
    super::in_new_namespace(move || {
        for renewal in [Renewal::InPlace, Renewal::Replace] {
            super::run("nft", &["flush", "ruleset"]);
            super::run("nft", &["-f", "nft/gateway.nft"]);
            test(Connection::open(TableName::default(), renewal).expect("a connection to the kernel"));
        }
    });
}

/// The elements of `set` in table `inet cedarwall`.
pub fn elements(set: &str) -> Vec<Element> {
    let listing = super::run("nft", &["-j", "list", "set", "inet", "cedarwall", set]);
    let listing: Value = serde_json::from_str(&listing).expect("nft writes JSON");
    let objects = listing["nftables"].as_array().expect("a list of objects");
    let set = objects.iter().find_map(|object| object.get("set")).expect("the set");
    set["elem"].as_array().into_iter().flatten().map(element).collect()
}

fn element(value: &Value) -> Element {
    let value = value.get("elem").unwrap_or(value);
    let key = value.get("val").unwrap_or(value);
    let fields =
        key.get("concat").map_or_else(|| vec![key.clone()], |fields| fields.as_array().expect("a list").clone());
    Element {
        key: fields.iter().map(|field| field.as_str().map_or_else(|| field.to_string(), ToOwned::to_owned)).collect(),
        comment: value.get("comment").and_then(Value::as_str).map(ToOwned::to_owned),
        expires: value.get("expires").and_then(Value::as_u64),
    }
}

/// Packets counted by a named counter of table `inet cedarwall`.
pub fn counter(name: &str) -> u64 {
    let listing = super::run("nft", &["-j", "list", "counter", "inet", "cedarwall", name]);
    let listing: Value = serde_json::from_str(&listing).expect("nft writes JSON");
    let objects = listing["nftables"].as_array().expect("a list of objects");
    let counter = objects.iter().find_map(|object| object.get("counter")).expect("the counter");
    counter["packets"].as_u64().expect("a number")
}
