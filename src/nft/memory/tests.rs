use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use super::*;
use crate::core::config::LeaseSettings;
use crate::core::decision::Opening;
use crate::core::lease::{Aliases, Generation, Grant, Wanted};
use crate::core::ledger::Plan;
use crate::core::name::Name;
use crate::core::query::{Client, Port, Protocol};
use crate::core::time::{Moment, Ttl};

const NOW: Moment = Moment::from_millis(1000);

fn ledger() -> Ledger {
    let second = Duration::from_secs(1);
    let (per_client, per_name, total, set_size) = (9000, 9000, 9000, 9000);
    let (min, max, grace) = (second, 9 * second, second);
    Ledger::new(LeaseSettings { min, max, grace, per_client, per_name, total, set_size })
}

fn open(ledger: &mut Ledger, memory: &mut Memory, port: u16) {
    let client = Client::new("10.0.0.2".parse().unwrap());
    let openings = Arc::from([Opening { protocol: Protocol::Tcp, ports: Port::new(port).unwrap().into() }]);
    let wanted = Wanted {
        client,
        name: Name::parse("a.example.com").unwrap(),
        grants: vec![Grant { client, address: "198.51.100.7".parse().unwrap(), openings }],
        ttl: Ttl::from_wire(5),
        at_most: None,
        aliases: Aliases::default(),
        generation: Generation::FIRST,
    };
    let mut plan = Plan::default();
    ledger.plan(&mut plan, NOW, &wanted).unwrap();
    memory.append(plan.lines());
    ledger.commit(plan);
}

fn known(remembered: Remembered) -> usize {
    remembered.clients().count()
}

/// A memory of `leases` leases, written one by one.
fn written(path: &Path, leases: u16) -> (Ledger, Memory) {
    let (mut memory, before) = Memory::recall(path);
    assert_eq!(known(before), 0);
    let mut ledger = ledger();
    memory.tidy(&ledger);
    (1..=leases).for_each(|port| open(&mut ledger, &mut memory, port));
    (ledger, memory)
}

#[test]
fn what_was_written_is_recalled_and_is_for_our_eyes_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.leases");
    let _still_open = written(&path, 3);
    assert_eq!(known(Memory::recall(&path).1), 3);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_line_torn_by_a_kill_hides_none_of_those_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.leases");
    drop(written(&path, 3));
    let whole = fs::read(&path).unwrap();
    let last = whole[..whole.len() - 1].iter().rposition(|octet| *octet == b'\n').unwrap() + 1;
    for end in last..whole.len() - 1 {
        fs::write(&path, &whole[..end]).unwrap();
        assert_eq!(known(Memory::recall(&path).1), 2, "cut at {end}");
    }
}

#[test]
fn garbage_another_boot_and_what_others_can_write_are_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.leases");
    drop(written(&path, 3));
    let whole = fs::read_to_string(&path).unwrap();
    let other_boot = whole.replacen("\"boot\":\"", "\"boot\":\"0", 1);
    for text in ["", "\n", "garbage", "\u{0}\u{1}\n{}\n", &whole[1..], &other_boot] {
        fs::write(&path, text).unwrap();
        assert_eq!(known(Memory::recall(&path).1), 0, "{text:?}");
    }
    fs::write(&path, &whole).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o620)).unwrap();
    assert_eq!(known(Memory::recall(&path).1), 0);
    let link = folder.path().join("link.leases");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert_eq!(known(Memory::recall(&link).1), 0);
    assert_eq!(known(Memory::recall(&path).1), 3);
    // Nor does a pipe make anybody wait.
    let pipe = folder.path().join("pipe.leases");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(known(Memory::recall(&pipe).1), 0);
}

#[test]
fn it_is_written_anew_when_most_of_it_is_no_longer_needed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.leases");
    let (mut ledger, mut memory) = written(&path, 2);
    for _ in 0..=FEW {
        memory.append(std::iter::once(ledger.lines().next().unwrap()));
    }
    memory.tidy(&ledger);
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 3);
    open(&mut ledger, &mut memory, 9);
    assert_eq!(known(Memory::recall(&path).1), 3);
}

#[test]
fn a_full_disk_stops_nothing_and_leaves_nothing_half_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.leases");
    let (mut ledger, mut memory) = written(&path, 2);
    memory.file = Some(OpenOptions::new().write(true).open("/dev/full").unwrap());
    open(&mut ledger, &mut memory, 3);
    assert!(memory.file.is_none() && memory.failed.is_some());
    open(&mut ledger, &mut memory, 4);
    // Not at once again, but after a while, with all there is to know.
    memory.tidy(&ledger);
    assert_eq!(known(Memory::recall(&path).1), 2);
    memory.failed = memory.failed.map(|failed| failed - REST);
    memory.tidy(&ledger);
    assert_eq!(known(Memory::recall(&path).1), 4);
}

#[test]
fn a_folder_that_cannot_be_written_stops_nothing() {
    let (mut memory, _) = Memory::recall(Path::new("/proc/nowhere/control.leases"));
    let mut ledger = ledger();
    memory.tidy(&ledger);
    open(&mut ledger, &mut memory, 1);
    assert_eq!(ledger.len(), 1);
}
