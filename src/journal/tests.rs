//! What the journal promises.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use super::*;
use crate::core::decision::{Denial, Failure, PolicyId, Reason};
use crate::core::event::Subject;
use crate::core::process::Traced;
use crate::core::query::{Agent, Client, RecordKind};

fn subject(agent: Option<&str>, name: &str) -> Subject {
    Subject {
        resolver: None,
        search: false,
        client: Client::new("10.77.0.2".parse().unwrap()),
        agent: agent.map(|agent| Agent::parse(agent).unwrap()),
        name: name.into(),
        kind: RecordKind::A,
    }
}

fn denied(agent: Option<&str>, name: &str) -> Event {
    let denial = Denial { reason: Reason::Forbidden, policies: [PolicyId::new("no-telemetry")].into() };
    Event::QueryDenied { subject: subject(agent, name), denial, process: Traced::Unasked, sinkhole: None, times: 1 }
}

fn failed() -> Event {
    let subject = subject(Some("claude"), "api.example.com");
    Event::QueryFailed { subject, failure: Failure::UpstreamSilent, micros: 4_000_000 }
}

/// Never turned over.
const ONE_FILE: Rotation = Rotation { max_size: u64::MAX, max_age: Duration::from_secs(u32::MAX as u64), keep: 1 };

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

fn lines(path: &Path) -> Vec<serde_json::Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_event_is_one_json_line_in_a_file_others_cannot_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log/events.jsonl");
    for _ in 0..2 {
        let journal = Journal::open(Some((&path, ONE_FILE))).unwrap();
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

impl Lines for StuckDisk {
    fn append(&mut self, lines: &[u8], _now: Timestamp) -> io::Result<()> {
        let _ = self.go.recv();
        self.file.write_all(lines)
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
    path: PathBuf,
    file: JournalFile,
}

impl Lines for FullOnce {
    fn append(&mut self, lines: &[u8], now: Timestamp) -> io::Result<()> {
        if self.failed {
            return self.file.append(lines, now);
        }
        self.failed = true;
        append_to(&self.path)?.write_all(&lines[..10])?;
        self.file = JournalFile::open(&self.path, ONE_FILE)?;
        Err(io::ErrorKind::StorageFull.into())
    }
}

#[test]
fn a_torn_line_spoils_no_other_and_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let file = JournalFile::open(&path, ONE_FILE).unwrap();
    let full = FullOnce { failed: false, path: path.clone(), file };
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
fn an_agent_has_one_series_in_whatever_team_it_asks() {
    let journal = Journal::start(None, 16).unwrap();
    for team in [None, Some("readers"), Some("writers")] {
        let mut event = denied(Some("claude"), "telemetry.example.com");
        if let (Event::QueryDenied { subject: Subject { agent: Some(agent), .. }, .. }, Some(team)) = (&mut event, team)
        {
            *agent = agent.in_team(team).unwrap();
        }
        journal.report(event);
    }
    let mut text = String::new();
    journal.encode_metrics(&mut text);
    let series: Vec<_> =
        text.lines().filter(|line| line.starts_with("cedarwall_denied_total{agent=\"claude\"")).collect();
    assert_eq!(series, ["cedarwall_denied_total{agent=\"claude\",reason=\"forbidden\"} 3"]);
}

#[test]
fn a_journal_that_cannot_be_written_says_which_file() {
    let error = Journal::open(Some((Path::new("/proc/cedarwall/events.jsonl"), ONE_FILE))).unwrap_err().to_string();
    assert!(error.contains("/proc/cedarwall/events.jsonl") && error.contains("[journal]"), "{error}");
}

#[test]
fn ids_say_the_order_of_the_file_over_starts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    for _ in 0..2 {
        let journal = Journal::open(Some((&path, ONE_FILE))).unwrap();
        (0..40).for_each(|_| journal.report(failed()));
        journal.close();
        // Two starts in one second are told apart, and ordered by chance alone.
        thread::sleep(Duration::from_millis(1001));
    }
    let ids: Vec<_> = lines(&path).iter().map(|line| line["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 80);
    assert!(ids.is_sorted() && ids.windows(2).all(|pair| pair[0] != pair[1]), "{ids:?}");
}

#[tokio::test]
async fn the_stream_has_the_lines_of_the_file_octet_by_octet() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let journal = Journal::open(Some((&path, ONE_FILE))).unwrap();
    let mut streams = [journal.stream(), journal.stream()];
    journal.report(denied(Some("claude"), "telemetry.example.com"));
    journal.report(Event::PolicyLoaded { path: "a\u{9b}31m\u{202e}b\u{7f}".into(), policies: 1, warnings: Vec::new() });
    journal.report(failed());
    journal.close();
    for stream in &mut streams {
        let mut told = Vec::new();
        while let Some(line) = stream.next().await {
            told.extend_from_slice(&line);
        }
        assert_eq!(String::from_utf8(told).unwrap(), fs::read_to_string(&path).unwrap());
    }
    let text = fs::read_to_string(&path).unwrap();
    assert!(!text.chars().any(|character| character != '\n' && crate::core::printable::steers(character)), "{text:?}");
    assert_eq!(lines(&path)[1]["path"], "a\u{9b}31m\u{202e}b\u{7f}");
    assert!(journal.stream().next().await.is_none(), "a closed journal has no stream");
}

#[tokio::test]
async fn a_slow_reader_holds_nobody_and_is_told_what_it_missed() {
    let journal = Journal::start(None, 100_000).unwrap();
    let (mut slow, mut fast) = (journal.stream(), journal.stream());
    let reading = tokio::spawn(async move {
        let mut lines = Vec::new();
        while let Some(line) = fast.next().await {
            lines.push(line);
        }
        lines
    });
    for _ in 0..20 {
        (0..500).for_each(|_| journal.report(failed()));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::task::spawn_blocking(move || journal.close()).await.unwrap();
    assert_eq!(reading.await.unwrap().len(), 10_000, "who keeps up misses nothing");

    let (mut told, mut lost) = (0, 0);
    while let Some(line) = slow.next().await {
        let line: serde_json::Value = serde_json::from_slice(&line).unwrap();
        if line["event"] == "stream.lost" {
            assert_eq!(line.get("id"), None);
            lost += line["count"].as_u64().unwrap();
        } else {
            told += 1;
        }
    }
    assert!(lost > 0 && told + lost == 10_000, "{told} told, {lost} lost");
}

/// A line of 100 octets that happened so many seconds after the first.
fn hundred(number: u32, seconds: i64) -> (Vec<u8>, Timestamp) {
    let time = Timestamp::from_second(1_767_258_000 + seconds).unwrap();
    let line = format!("{{\"time\":\"{time:.6}\",\"event\":\"query.failed\",\"count\":{number}}}");
    (format!("{line:<99}\n").into_bytes(), time)
}

fn file(path: &Path, max_size: u64, keep: u32) -> JournalFile {
    let rotation = Rotation { max_size, max_age: Duration::from_secs(3600), keep };
    JournalFile::open(path, rotation).unwrap()
}

fn append(file: &mut JournalFile, number: u32, seconds: i64) {
    let (line, time) = hundred(number, seconds);
    file.append(&line, time).unwrap();
}

/// The count of the first event of each file, the newest first.
fn firsts(path: &Path) -> Vec<u64> {
    let files = std::iter::once(path.to_owned()).chain((1..9).map(|number| numbered(path, number)));
    files.filter(|path| path.exists()).map(|path| lines(&path)[0]["count"].as_u64().unwrap()).collect()
}

#[test]
fn a_file_that_is_full_or_old_gives_way_and_so_many_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let mut journal = file(&path, 1000, 2);
    (0..35).for_each(|number| append(&mut journal, number, 0));
    assert_eq!(firsts(&path), [30, 20, 10], "no line is between two files, and the oldest file went");
    assert!([&path, &numbered(&path, 1)].iter().all(|path| fs::metadata(path).unwrap().len() <= 1000));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);

    append(&mut journal, 35, 3600);
    assert_eq!(firsts(&path), [30, 20, 10], "an hour is not more than an hour");
    append(&mut journal, 36, 3601);
    assert_eq!(firsts(&path), [36, 30, 20]);
    // A daemon that starts knows how old the file is, and that fewer are kept.
    let mut journal = file(&path, 1000, 1);
    append(&mut journal, 37, 3601 + 3601);
    assert_eq!(firsts(&path), [37, 36]);
    let mut journal = file(&path, 1000, 0);
    append(&mut journal, 38, 3601 + 2 * 3601);
    assert_eq!(firsts(&path), [38]);
}

#[test]
fn a_file_that_somebody_removed_moved_or_emptied_costs_no_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let mut journal = file(&path, 1000, 3);
    append(&mut journal, 0, 0);
    fs::remove_file(&path).unwrap();
    append(&mut journal, 1, 0);
    assert_eq!(firsts(&path), [1]);
    let elsewhere = folder.path().join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    append(&mut journal, 2, 0);
    assert_eq!((firsts(&path), lines(&elsewhere).len()), (vec![2], 1));
    OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
    append(&mut journal, 3, 0);
    assert_eq!(firsts(&path), [3]);
}

#[test]
fn what_keeps_a_file_from_giving_way_costs_no_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    // A folder that is not empty cannot be renamed over.
    fs::create_dir_all(numbered(&path, 1).join("in the way")).unwrap();
    let mut journal = file(&path, 1000, 1);
    (0..25).for_each(|number| append(&mut journal, number, 0));
    assert_eq!(lines(&path).len(), 25);
    // The whole folder is gone, and with it all that could be renamed.
    fs::remove_dir_all(folder.path()).unwrap();
    append(&mut journal, 25, 0);
}

#[test]
fn a_half_line_that_a_killed_daemon_left_spoils_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    fs::write(&path, "{\"time\":\"2026-01-01T00:0").unwrap();
    append(&mut file(&path, 1000, 1), 7, 0);
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.lines().nth(1).unwrap().contains("\"count\":7}"), "{text}");
}

#[test]
fn a_pipe_is_written_to_and_never_turned_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _reader = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let mut journal = file(&path, 1000, 2);
    (0..30).for_each(|number| append(&mut journal, number, 7200 * i64::from(number)));
    assert!(!numbered(&path, 1).exists());
}
