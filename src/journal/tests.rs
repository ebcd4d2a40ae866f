//! What the journal promises.

use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use super::*;
use crate::core::decision::{Denial, Failure, PolicyId, Reason};
use crate::core::event::Subject;
use crate::core::process::Traced;
use crate::core::query::{Agent, Client, RecordKind};

fn subject(agent: Option<&str>, name: &str) -> Subject {
    Subject {
        client: Client::new("10.77.0.2".parse().unwrap()),
        agent: agent.map(|agent| Agent::parse(agent).unwrap()),
        name: name.to_owned(),
        kind: RecordKind::A,
    }
}

fn denied(agent: Option<&str>, name: &str) -> Event {
    let denial = Denial { reason: Reason::Forbidden, policies: vec![PolicyId::new("no-telemetry")] };
    Event::QueryDenied { subject: subject(agent, name), denial, process: Traced::Unasked, sinkhole: None }
}

fn failed() -> Event {
    let subject = subject(Some("claude"), "api.example.com");
    Event::QueryFailed { subject, failure: Failure::UpstreamSilent, micros: 4_000_000 }
}

fn lines(path: &Path) -> Vec<serde_json::Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_event_is_one_json_line_in_a_file_others_cannot_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log/events.jsonl");
    for _ in 0..2 {
        let journal = Journal::open(Some(&path)).unwrap();
        journal.report(denied(Some("claude"), "telemetry.example.com"));
        journal.report(Event::Stopped { cause: "SIGTERM" });
        journal.close();
    }
    let lines = lines(&path);
    assert_eq!(lines.len(), 4, "a second start appends");
    let time = lines[0]["time"].as_str().unwrap();
    assert_eq!((time.len(), time.ends_with('Z')), ("2026-01-01T00:00:00.123456Z".len(), true), "{time}");
    assert_eq!(lines[0]["event"], "query.denied");
    assert_eq!(lines[0]["hostname"], "telemetry.example.com");
    assert_eq!(lines[0]["policies"], serde_json::json!(["no-telemetry"]));
    assert_eq!(lines[3]["cause"], "SIGTERM");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
}

/// A disk that answers only once it is let go.
struct StuckDisk {
    go: Receiver<()>,
    file: File,
}

impl Write for StuckDisk {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let _ = self.go.recv();
        self.file.write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_stuck_disk_holds_no_answer_and_the_loss_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let (release, go) = sync_channel::<()>(1);
    let journal = Journal::start(Some(Box::new(StuckDisk { go, file: append_to(&path).unwrap() })), 16).unwrap();

    let start = Instant::now();
    for _ in 0..10_000 {
        journal.report(failed());
    }
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    let lost = journal.lost();
    assert!(lost >= 9_000, "{lost}");
    assert_eq!(journal.queries().failed, 10_000, "what is not written is counted all the same");

    drop(release);
    journal.close();
    let lines = lines(&path);
    let told: u64 =
        lines.iter().filter(|line| line["event"] == "journal.lost").filter_map(|line| line["count"].as_u64()).sum();
    let written = lines.iter().filter(|line| line["event"] == "query.failed").count();
    assert_eq!(told, lost);
    assert_eq!(written as u64 + told, 10_000);
}

/// A disk that is full, once.
struct FullOnce {
    failed: bool,
    file: File,
}

impl Write for FullOnce {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        if self.failed {
            return self.file.write(octets);
        }
        self.failed = true;
        self.file.write_all(octets.get(..10).unwrap_or_default())?;
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_torn_line_spoils_no_other_and_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let full = FullOnce { failed: false, file: append_to(&path).unwrap() };
    let journal = Journal::start(Some(Box::new(full)), 16).unwrap();
    journal.report(failed());
    let deadline = Instant::now() + Duration::from_secs(5);
    while journal.lost() == 0 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
    journal.report(Event::Stopped { cause: "SIGTERM" });
    journal.close();

    let text = std::fs::read_to_string(&path).unwrap();
    let whole: Vec<serde_json::Value> = text.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(whole.iter().map(|line| &line["event"]).collect::<Vec<_>>(), ["journal.lost", "daemon.stopped"]);
    assert_eq!(whole[0]["count"], 1);
}

#[test]
fn a_client_that_invents_names_cannot_grow_the_table_nor_crowd_out_others() {
    let journal = Journal::start(None, 1).unwrap();
    for number in 0..3000 {
        journal.report(denied(Some("noisy"), &format!("n{number}.example.com")));
    }
    for _ in 0..2 {
        journal.report(denied(Some("quiet"), "telemetry.example.com"));
    }
    journal.report(denied(None, "api.example.com"));
    let denials = journal.denials();
    assert_eq!((denials.count, denials.names.len(), denials.other), (3003, 2002, 1000));
    assert_eq!(denials.names[0].name, "telemetry.example.com", "the most frequent first");
    assert_eq!(denials.names[0].policies, ["no-telemetry"]);
    assert_eq!(denials.totals[0].agent.as_deref(), Some("noisy"));
    assert_eq!(denials.totals.len(), 3);
}

#[test]
fn the_metrics_name_every_outcome_before_it_happens() {
    let journal = Journal::start(None, 16).unwrap();
    journal.report(failed());
    journal.report(denied(Some("claude"), "telemetry.example.com"));
    let mut text = String::new();
    journal.encode_metrics(&mut text);
    for line in [
        "cedarwall_queries_total{outcome=\"answered\"} 0\n",
        "cedarwall_queries_total{outcome=\"failed\"} 1\n",
        "cedarwall_denied_total{agent=\"claude\",reason=\"forbidden\"} 1\n",
        "cedarwall_failed_total{failure=\"kernel_silent\"} 0\n",
        "cedarwall_failed_total{failure=\"upstream_silent\"} 1\n",
        "cedarwall_query_seconds_count 1\n",
        "cedarwall_journal_dropped_total 0\n",
        "# HELP cedarwall_denied Queries denied",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(text.contains(&format!("cedarwall_build_info{{version=\"{}\"}} 1\n", env!("CARGO_PKG_VERSION"))), "{text}");
}

#[test]
fn a_journal_that_cannot_be_written_says_which_file() {
    let error = Journal::open(Some(Path::new("/proc/cedarwall/events.jsonl"))).unwrap_err().to_string();
    assert!(error.contains("/proc/cedarwall/events.jsonl") && error.contains("[journal]"), "{error}");
}
