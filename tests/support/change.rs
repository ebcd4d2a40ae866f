//! What tests of change share: two names, policies that permit them, and an
//! operator who has the files read again.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use serde_json::Value;

use super::lab::Lab;
use super::upstream::{Asked, address, answer, wire};
use super::wall::binary;

/// Permits both names.
pub const BOTH: &str = r#"
@id("api") permit(principal, action == Action::"net.connect", resource == Resource::"api.example.com:443");
@id("registry") permit(principal, action == Action::"net.connect", resource == Resource::"registry.example.com:443");
"#;

/// Permits one of them.
pub const REGISTRY: &str = r#"
@id("registry") permit(principal, action == Action::"net.connect", resource == Resource::"registry.example.com:443");
"#;

/// An internet on which each of the two names has addresses of its own: those
/// of `api` end in 7, all others in 8.
pub fn by_name(ttl: u32) -> impl Fn(&Asked, &Message) -> Option<Vec<u8>> + Send + Sync {
    move |asked, query| {
        let host = if asked.name.starts_with("api") { 7 } else { 8 };
        let record = match asked.kind {
            RecordType::A => address(query, ttl, &format!("203.0.113.{host}")),
            _ => address(query, ttl, &format!("2001:db8:2::{host}")),
        };
        wire(&answer(query, vec![record]))
    }
}

/// An operator's command: its exit code, and what it prints as JSON.
pub fn operator(lab: &Lab, command: &[&str]) -> (Option<i32>, Value) {
    let mut program = Command::new(binary());
    program.args(command).args(["--json", "--socket"]).arg(lab.path("control.sock"));
    let output = program.stderr(Stdio::null()).output().expect("the program starts");
    (output.status.code(), serde_json::from_slice(&output.stdout).expect("JSON"))
}

/// `cedarwall reload`, which has to succeed.
pub fn reload(lab: &Lab) -> Value {
    let (code, report) = operator(lab, &["reload"]);
    assert_eq!(code, Some(0), "{report}");
    report
}

/// Writes another policy and has it read.
pub fn change(lab: &Lab, policy: &str) -> Value {
    lab.write("policies/wall.cedar", policy);
    reload(lab)
}

/// Tells the threads beside a test that it is over, however it ends.
pub struct Done<'a>(pub &'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
