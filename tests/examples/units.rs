//! A plain host: its units are ones that systemd takes, and what they execute
//! makes the network that the wall and the agent are for.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::files::text;
use crate::support::lab::{eventually, in_lab};
use crate::support::wall::binary;
use crate::support::{cannot, run};
use crate::walls::{API, holds, internet, reaches, serve, take_down, write};

const UNITS: [&str; 4] = [
    "packaging/cedarwall.service",
    "examples/systemd/agent-network.service",
    "examples/systemd/coding-agent.service",
    "examples/kubernetes-node/cedarwall-node.service",
];

/// The commands of a unit's `key`, in order, with these words replaced.
pub fn commands(unit: &str, key: &str, replaced: &[(&str, &str)]) -> Vec<Vec<String>> {
    let text = text(unit);
    let values = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let word = |word: &str| replaced.iter().find(|(from, _)| word == *from).map_or(word, |(_, to)| to).to_owned();
    let commands: Vec<Vec<String>> = values.map(|value| value.split(' ').map(word).collect()).collect();
    assert!(!commands.is_empty(), "{unit}: no {key}");
    commands
}

/// Executes them, each as systemd would.
pub fn execute(commands: &[Vec<String>]) {
    for command in commands {
        let arguments: Vec<&str> = command[1..].iter().map(String::as_str).collect();
        run(&command[0], &arguments);
    }
}

#[test]
fn the_units_are_ones_that_systemd_takes_without_a_word() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return cannot("find systemd-analyze");
    }
    let folder = tempfile::tempdir().unwrap();
    let verify = |change: (&str, &str)| {
        let copies = UNITS.map(|unit| {
            let text = text(unit).replace("/usr/bin/cedarwall", binary().to_str().unwrap());
            // The reader's own.
            let text = text.replace("/usr/local/bin/coding-agent", "/bin/true").replace(change.0, change.1);
            let copy = folder.path().join(Path::new(unit).file_name().unwrap());
            fs::write(&copy, text).unwrap();
            copy
        });
        let output = Command::new("systemd-analyze").arg("verify").args(copies).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(verify(("", "")), (true, String::new()));
    let (_, said) = verify(("NetworkNamespacePath=", "NetworkNamespace="));
    assert!(said.contains("'NetworkNamespace'"), "{said}");
}

#[test]
fn the_agents_unit_starts_in_the_walled_namespace_and_not_without_the_wall() {
    let agent = text("examples/systemd/coding-agent.service");
    for line in [
        "NetworkNamespacePath=/run/netns/coder",
        "ExecStartPre=+/usr/bin/cedarwall status",
        "After=cedarwall.service agent-network.service",
        "Requires=agent-network.service",
        "CapabilityBoundingSet=",
        "NoNewPrivileges=yes",
        "RestrictNamespaces=yes",
        "RootDirectory=/srv/coding-agent",
    ] {
        assert!(agent.lines().any(|said| said == line), "{line}");
    }
    let network = text("examples/systemd/agent-network.service");
    assert!(
        network.contains("\nExecStart=/usr/sbin/ip netns add coder\n")
            && network.contains("\nBefore=cedarwall.service\n")
    );
}

#[test]
fn the_network_of_the_agents_unit_is_closed_but_for_what_the_wall_opens() {
    in_lab(|lab| {
        internet();
        let rules = fs::canonicalize("examples/systemd/agent.nft").unwrap();
        let replaced = [("/etc/cedarwall/agent.nft", rules.to_str().unwrap())];
        let unit = "examples/systemd/agent-network.service";
        execute(&commands(unit, "ExecStart", &replaced));
        assert!(!reaches(lab, "coder", API), "open before the wall stands");

        let policies = format!("{:?}", fs::canonicalize("examples/systemd/policies").unwrap());
        let changes = [("udp://192.0.2.53:53", "udp://198.51.100.53:53"), ("\"policies\"", policies.as_str())];
        let configuration = write(lab, &text("examples/systemd/cedarwall.toml"), &changes);
        let wall = serve(lab, &configuration);
        holds(lab, "coder", "10.88.0.1:53");
        // The host forwards for nobody else, though it could.
        assert!(!reaches(lab, "other", API));

        take_down(lab, wall, "cedarwall");
        assert!(!reaches(lab, "coder", API), "open when the wall is gone");
        // It was these rules that kept it closed, and nothing else.
        run("nft", &["delete", "table", "inet", "coder"]);
        assert!(reaches(lab, "coder", API));
        assert!(reaches(lab, "other", API));

        execute(&commands(unit, "ExecStop", &[]));
        assert!(!run("ip", &["netns", "list"]).contains("coder"));
        eventually("the link goes", Duration::from_secs(10), || !run("ip", &["-brief", "link"]).contains("veth-coder"));
    });
}

/// The dev container's configuration, around a bridge as its engine makes it.
#[test]
fn the_dev_containers_configuration_is_a_wall_around_its_network() {
    in_lab(|lab| {
        internet();
        let script = "set -e
            ip link add walled-dev type bridge
            ip address add 10.88.7.1/24 dev walled-dev
            ip link set walled-dev up
            ip netns add dev
            ip link add dev-host type veth peer name eth0 netns dev
            ip link set dev-host master walled-dev up
            ip -n dev address add 10.88.7.2/24 dev eth0
            ip -n dev link set eth0 up
            ip -n dev route add default via 10.88.7.1";
        run("sh", &["-c", script]);
        eventually("the way is open without a wall", Duration::from_secs(10), || reaches(lab, "dev", API));

        let folder = "examples/devcontainer/.devcontainer";
        let policies = format!("{:?}", fs::canonicalize(format!("{folder}/policies")).unwrap());
        let changes = [("udp://192.0.2.53:53", "udp://198.51.100.53:53"), ("\"policies\"", policies.as_str())];
        let configuration = write(lab, &text(&format!("{folder}/cedarwall.toml")), &changes);
        let wall = serve(lab, &configuration);
        holds(lab, "dev", "10.88.7.1:53");
        take_down(lab, wall, "cedarwall_dev");
    });
}
