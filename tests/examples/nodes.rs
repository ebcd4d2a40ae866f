//! A node of a cluster: prepared as its unit says, with a bridge as flannel
//! makes it and two pods on it.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use hickory_proto::rr::RecordType;
use serde_json::Value;

use crate::files::{changed, check, manifest, unpack};
use crate::manifests::pod;
use crate::support::client::ask_tcp;
use crate::support::lab::{Lab, enter, eventually, in_lab};
use crate::support::run;
use crate::units::{commands, execute};
use crate::walls::{API, holds, internet, reaches, serve, take_down, write};

const WALL: &str = "examples/kubernetes-node/wall.yaml";
/// Where each node's wall answers.
const SERVER: &str = "169.254.20.53:53";

/// The node's configuration, made by the script as the DaemonSet calls it, with
/// flannel's file saying this.
fn configure(lab: &Lab, flannel: &str) -> Result<String, String> {
    let pod = pod(WALL);
    let volume = lab.path("etc");
    unpack(&manifest(WALL, "ConfigMap"), &pod["volumes"], &volume);
    let (made, subnet) = (lab.path("made.toml"), lab.write("subnet.env", flannel));
    let place = |word: &str| match word {
        "/made/cedarwall.toml" => made.clone(),
        _ => word.strip_prefix("/etc/cedarwall/").map_or_else(|| PathBuf::from(word), |file| volume.join(file)),
    };
    let command: Vec<&str> =
        pod["initContainers"][0]["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    let output =
        Command::new(command[0]).args(command[1..].iter().map(|word| place(word))).arg(subnet).output().unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let policies = volume.join("policies");
    let text = fs::read_to_string(made).unwrap();
    Ok(changed(&text, &[("/etc/cedarwall/policies", policies.to_str().unwrap())]))
}

#[test]
fn a_node_prepared_as_its_unit_says_is_closed_but_for_what_the_wall_opens() {
    in_lab(|lab| {
        internet();
        bridge();
        pods();
        eventually("the way is open without any of it", Duration::from_secs(10), || reaches(lab, "pod2", API));

        prepare(lab);
        assert!(!reaches(lab, "pod2", API), "open before the wall stands");

        let configuration = configure(lab, FLANNEL).unwrap();
        let configuration = write(lab, &configuration, &[("udp://192.0.2.53:53", "udp://198.51.100.53:53")]);
        let wall = serve(lab, &configuration);
        holds(lab, "pod2", SERVER);
        assert!(!reaches(lab, "pod3", API), "a lease is one pod's own");
        holds(lab, "pod3", SERVER);

        take_down(lab, wall, "cedarwall");
        for pod in ["pod2", "pod3"] {
            assert!(!reaches(lab, pod, API), "{pod}: open when the wall is gone");
        }
    });
}

#[test]
fn the_wall_stands_before_the_bridge_is_there_and_keeps_pods_on_it_apart() {
    in_lab(|lab| {
        internet();
        prepare(lab);
        let configuration = configure(lab, FLANNEL).unwrap();
        let configuration = write(lab, &configuration, &[("udp://192.0.2.53:53", "udp://198.51.100.53:53")]);
        let wall = serve(lab, &configuration);
        bridge();
        pods();
        neighbour();
        eventually("the link is up", Duration::from_secs(20), || {
            lab.within("pod2", || ask_tcp(SERVER, "api.example.com", RecordType::A)).is_some()
        });
        holds(lab, "pod2", SERVER);

        // What kube-proxy asks for; where the kernel lacks it, pods are not apart.
        let bridged = "/proc/sys/net/bridge/bridge-nf-call-iptables";
        if !fs::exists(bridged).unwrap() {
            return crate::support::cannot("have bridged packets pass netfilter (modprobe br_netfilter)");
        }
        fs::write(bridged, "1").unwrap();
        assert!(!reaches(lab, "pod2", "10.244.1.3:8080"), "a pod reaches its neighbour");
        fs::write(bridged, "0").unwrap();
        assert!(reaches(lab, "pod2", "10.244.1.3:8080"), "the page says so: below these rules");
        take_down(lab, wall, "cedarwall");
    });
}

#[test]
fn the_script_names_every_address_of_the_node_and_refuses_what_it_does_not_understand() {
    in_lab(|lab| {
        let made = configure(lab, FLANNEL).unwrap();
        let clients: toml::Table = made.parse().unwrap();
        let clients = clients["client"].as_array().unwrap();
        assert_eq!(clients.len(), 253);
        let address = |client: Option<&toml::Value>| client.unwrap()["address"].as_str().unwrap().to_owned();
        assert_eq!((address(clients.first()), address(clients.last())), ("10.244.1.2".into(), "10.244.1.254".into()));
        check(&lab.write("etc/made.toml", &made)).unwrap();

        for refused in ["FLANNEL_SUBNET=10.244.0.1/16\n", "FLANNEL_SUBNET=fd00::1/64\n", ""] {
            let said = configure(lab, refused).unwrap_err();
            assert!(said.contains("only a /24 is understood"), "{said}");
        }
    });
}

#[test]
fn the_daemon_set_keeps_to_prepared_nodes_and_the_agent_to_walled_ones() {
    let (wall, agent) = (pod(WALL), pod("examples/kubernetes-node/agent.yaml"));
    assert_eq!(wall["hostNetwork"], true);
    assert_eq!(agent["hostNetwork"], Value::Null);
    assert_eq!(wall["nodeSelector"], agent["nodeSelector"]);
    let volumes = wall["volumes"].as_array().unwrap();
    let of_the_host: Vec<&Value> =
        volumes.iter().map(|volume| &volume["hostPath"]).filter(|path| !path.is_null()).collect();
    assert!(of_the_host.iter().all(|path| path["type"] == "Directory"), "nothing is made on a node that lacks it");
    assert_eq!(agent["dnsConfig"]["nameservers"][0], SERVER.trim_end_matches(":53"));
}

const FLANNEL: &str =
    "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";

/// Does what the node's unit executes.
fn prepare(lab: &Lab) {
    let rules = fs::canonicalize("examples/kubernetes-node/closed.nft").unwrap();
    let (run, log) = (lab.path("node-run"), lab.path("node-log"));
    let replaced = [
        ("/etc/cedarwall/closed.nft", rules.to_str().unwrap()),
        ("/run/cedarwall", run.to_str().unwrap()),
        ("/var/log/cedarwall", log.to_str().unwrap()),
    ];
    execute(&commands("examples/kubernetes-node/cedarwall-node.service", "ExecStart", &replaced));
    let user = pod(WALL)["securityContext"]["runAsUser"].as_u64().unwrap();
    assert!([run, log].iter().all(|folder| u64::from(fs::metadata(folder).unwrap().uid()) == user));
}

/// The bridge that flannel's plugin makes for the first pod.
fn bridge() {
    let script = "set -e
        ip link add cni0 type bridge
        ip address add 10.244.1.1/24 dev cni0
        ip link set cni0 up";
    run("sh", &["-c", script]);
}

fn pods() {
    let script = "set -e
        for number in 2 3; do
            ip netns add pod$number
            ip link add veth$number type veth peer name eth0 netns pod$number
            ip link set veth$number master cni0 up
            ip -n pod$number address add 10.244.1.$number/24 dev eth0
            ip -n pod$number link set lo up
            ip -n pod$number link set eth0 up
            ip -n pod$number route add default via 10.244.1.1
        done";
    run("sh", &["-c", script]);
}

/// Something that listens in the second pod.
fn neighbour() {
    let (tell, listening) = std::sync::mpsc::channel();
    thread::spawn(move || {
        enter("pod3");
        let listener = TcpListener::bind("10.244.1.3:8080").unwrap();
        tell.send(()).unwrap();
        for stream in listener.incoming() {
            drop(stream);
        }
    });
    listening.recv().unwrap();
}
