//! The house keeps its shape: the core is pure, and dependencies point one
//! way.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// Every source file below `folder`, without its tests.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((path.clone(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let is_test = |path: &Path| path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs");
    found.retain(|(path, _)| !is_test(path));
    assert!(!found.is_empty(), "{folder} holds no source");
    found
}

/// The lines of code that hold one of `words`, comments and tests left out.
fn offenders(folder: &str, words: &[&str]) -> Vec<String> {
    let mut offenders = Vec::new();
    for (path, text) in sources(folder) {
        let code = text.split("#[cfg(test)]").next().unwrap();
        for (number, line) in code.lines().enumerate() {
            let line = line.trim();
            if !line.starts_with("//") && words.iter().any(|word| line.contains(word)) {
                offenders.push(format!("{}:{}: {line}", path.display(), number + 1));
            }
        }
    }
    offenders
}

#[test]
fn the_core_knows_no_clock_no_socket_no_file_and_no_edge() {
    let impure = [
        "tokio",
        "hickory",
        "axum",
        "hyper",
        "nftables",
        "netlink",
        "nix::",
        "socket2",
        "caps::",
        "tracing",
        "std::fs",
        "std::io",
        "std::process",
        "std::thread",
        "std::env",
        "std::sync::mpsc",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "UnixStream",
        "Instant",
        "SystemTime",
        "Timestamp::now",
        "Zoned::now",
        "rand::",
        "println!",
        "async fn",
        ".await",
    ];
    assert_eq!(offenders("src/core", &impure), Vec::<String>::new());
    let outside = [
        "crate::attribution",
        "crate::cli",
        "crate::clients",
        "crate::config_file",
        "crate::control",
        "crate::daemon",
        "crate::demo",
        "crate::dns",
        "crate::gate",
        "crate::host",
        "crate::journal",
        "crate::nft",
        "crate::policy_files",
        "crate::run",
    ];
    assert_eq!(offenders("src/core", &outside), Vec::<String>::new());
}

#[test]
fn an_edge_knows_the_core_and_the_gate_and_no_other_edge() {
    let edges = ["dns", "nft", "clients", "journal", "control", "attribution"];
    let allowed = [("dns", "clients"), ("control", "journal")];
    for edge in edges {
        for other in edges {
            if edge == other || allowed.contains(&(edge, other)) {
                continue;
            }
            let word = format!("crate::{other}");
            assert_eq!(offenders(&format!("src/{edge}"), &[&word]), Vec::<String>::new(), "{edge} -> {other}");
        }
        let above = ["crate::daemon", "crate::cli::", "crate::run", "crate::demo"];
        assert_eq!(offenders(&format!("src/{edge}"), &above), Vec::<String>::new(), "{edge}");
    }
}

#[test]
fn the_types_of_dns_and_netlink_stay_at_their_edges() {
    // What the engine says of containers, the kernel says of their links.
    assert_eq!(offenders("src/clients", &["hickory_"]), Vec::<String>::new());
    let rooms = ["core", "journal", "control", "daemon", "cli", "run"];
    for room in rooms {
        assert_eq!(offenders(&format!("src/{room}"), &["hickory_", "netlink_"]), Vec::<String>::new(), "{room}");
    }
    assert_eq!(offenders("src/nft", &["hickory_"]), Vec::<String>::new());
    assert_eq!(offenders("src/attribution", &["hickory_"]), Vec::<String>::new());
    assert_eq!(offenders("src/dns", &["netlink_"]), Vec::<String>::new());
}

#[test]
fn the_check_itself_finds_what_it_looks_for() {
    assert!(!offenders("src/nft", &["netlink_"]).is_empty());
    assert!(!offenders("src/dns", &["hickory_", "tokio"]).is_empty());
}
