//! A wall on an example's own configuration, in the laboratory: what is changed
//! in it is where the upstream server is, where files are, and that answers may
//! carry the documentation's addresses.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use hickory_proto::rr::RecordType;

use crate::files::changed;
use crate::support::client::{addresses, ask, verdict};
use crate::support::lab::{Lab, Process, UPSTREAM, eventually, greeter};
use crate::support::upstream::{Upstream, plain};
use crate::support::wall::binary;

const SECOND: Duration = Duration::from_secs(1);
/// Where `api.example.com` is, which the coding agent's policy permits.
pub const API: &str = "203.0.113.7:443";

/// An internet with a DNS server that finds everything at one address, and
/// servers on all of them.
pub fn internet() -> Upstream {
    greeter(443);
    greeter(80);
    Upstream::start(UPSTREAM, plain(300, "203.0.113.7", "2001:db8:2::7"))
}

/// Writes the configuration as it is used here, with these changes besides.
pub fn write(lab: &Lab, text: &str, changes: &[(&str, &str)]) -> PathBuf {
    let journal = lab.path("wall/events.jsonl");
    let usual = [
        ("[wall]\n", "[wall]\nallow_ranges = [\"203.0.113.0/24\"]\n"),
        ("/var/log/cedarwall/events.jsonl", journal.to_str().unwrap()),
    ];
    let text = changed(&changed(text, &usual), changes);
    lab.write("wall/cedarwall.toml", &format!("{text}\n[control]\nsocket = {:?}\n", socket(lab)))
}

/// Where the wall's control socket is.
pub fn socket(lab: &Lab) -> PathBuf {
    lab.path("wall/control.sock")
}

/// Starts it in the laboratory's own namespace, and waits until it stands.
pub fn serve(lab: &Lab, configuration: &Path) -> Process {
    let process = lab.start(None, binary(), &["serve", "--config", configuration.to_str().unwrap()]);
    eventually("the wall stands", 20 * SECOND, || {
        let mut status = Command::new(binary());
        status.arg("status").arg("--socket").arg(socket(lab)).stdout(Stdio::null()).stderr(Stdio::null());
        status.status().unwrap().success()
    });
    process
}

/// Takes it down: the daemon and its rules.
pub fn take_down(lab: &Lab, mut wall: Process, table: &str) {
    wall.terminate();
    let down = ["down", "--table", table, "--socket", socket(lab).to_str().unwrap()].map(ToOwned::to_owned);
    crate::support::run(binary().to_str().unwrap(), &down.each_ref().map(String::as_str));
}

/// Whether the agent in `namespace` reaches `address` directly.
pub fn reaches(lab: &Lab, namespace: &str, address: &str) -> bool {
    lab.connects(namespace, address.parse().unwrap(), SECOND / 2)
}

/// The agent in `namespace`, who asks `server`, gets what the coding agent's
/// policy permits, and nothing else.
pub fn holds(lab: &Lab, namespace: &str, server: &'static str) {
    let question = |name: &'static str| lab.within(namespace, || ask(server, name, RecordType::A)).expect("an answer");
    let denied = verdict(&question("telemetry.example.com"));
    assert_eq!(denied.1.map(|(code, _)| code), Some(15), "{namespace}");
    assert_eq!(addresses(&question("api.example.com")), ["203.0.113.7"], "{namespace}");
    assert!(lab.connects(namespace, API.parse().unwrap(), 5 * SECOND), "{namespace}");
    for elsewhere in ["203.0.113.7:80", "203.0.113.8:443", "198.51.100.53:443"] {
        assert!(!reaches(lab, namespace, elsewhere), "{namespace}: {elsewhere}");
    }
}
