//! What other programs read: each file passes its own checker, a broken one
//! does not, and the files of an example agree with each other.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::checkers::Checkers;
use crate::files::{changed, check, documents, manifest, text, unpack, with_extension};

const SIDECAR: &str = "examples/kubernetes-sidecar/pod.yaml";
const NODE: &str = "examples/kubernetes-node/wall.yaml";
const MANIFESTS: [&str; 3] = [SIDECAR, NODE, "examples/kubernetes-node/agent.yaml"];
/// The first version with native sidecars, and the newest that the checker knows.
const VERSIONS: [&str; 2] = ["1.29", "1.37"];
const WORKFLOW: &str = "examples/github-actions/workflow.yml";
const DEV_CONTAINER: &str = "examples/devcontainer";
const COMPOSE: &str = "examples/devcontainer/.devcontainer/compose.yaml";

#[test]
fn the_manifests_are_ones_that_kubernetes_takes() {
    let Some(checkers) = Checkers::find() else { return };
    for version in VERSIONS {
        for path in MANIFESTS {
            checkers.kubernetes(version, &text(path)).unwrap_or_else(|said| panic!("{path}, {version}: {said}"));
        }
    }
    let broken = [
        ("restartPolicy: Always", "restartPolcy: Always"),
        ("periodSeconds: 1\n", "periodSeconds: often\n"),
        ("dnsPolicy: None", "dnsPolicy: [None]"),
    ];
    for change in broken {
        let pod = changed(&text(SIDECAR), &[change]);
        assert!(checkers.kubernetes("1.29", &pod).is_err(), "{change:?} passes");
    }
}

#[test]
fn the_workflow_is_one_that_actions_takes() {
    let Some(checkers) = Checkers::find() else { return };
    let workflow = text(WORKFLOW);
    checkers.schema("vendor.github-workflows", &workflow).unwrap();
    assert_eq!(checkers.actionlint(&workflow), Vec::<String>::new());

    let unknown_step = changed(&workflow, &[("steps.kept.outputs", "steps.cached.outputs")]);
    assert_eq!(checkers.actionlint(&unknown_step).len(), 1);
    let unknown_key = changed(&workflow, &[("timeout-minutes: 30", "time-out-minutes: 30")]);
    assert!(checkers.schema("vendor.github-workflows", &unknown_key).is_err());
}

#[test]
fn the_dev_container_is_one_that_its_tools_take() {
    let Some(checkers) = Checkers::find() else { return };
    checkers.schema("vendor.compose-spec", &text(COMPOSE)).unwrap();
    let typo = changed(&text(COMPOSE), &[("depends_on", "depend_on")]);
    assert!(checkers.schema("vendor.compose-spec", &typo).is_err());

    let container = checkers.dev_container(Path::new(DEV_CONTAINER)).unwrap();
    let compose = documents(COMPOSE).remove(0);
    let services: Vec<&String> = compose["services"].as_object().unwrap().keys().collect();
    assert_eq!(container["dockerComposeFile"], "compose.yaml");
    assert_eq!(container["service"], "agent");
    assert_eq!(container["runServices"], serde_json::json!(services), "the wall is started, too");
    assert_eq!(container["remoteUser"], compose["services"]["agent"]["user"]);
    let broken = tempfile::tempdir().unwrap();
    fs::create_dir(broken.path().join(".devcontainer")).unwrap();
    fs::write(broken.path().join(".devcontainer/devcontainer.json"), "[]").unwrap();
    assert!(checkers.dev_container(broken.path()).is_err());
}

/// Editor, engine and wall each read a file of their own, and speak of the same
/// network.
#[test]
fn the_dev_containers_files_speak_of_one_network_and_one_agent() {
    let compose = documents(COMPOSE).remove(0);
    let (wall, agent) = (&compose["services"]["wall"], &compose["services"]["agent"]);
    let network = &compose["networks"]["walled"];
    let configuration: toml::Table = text("examples/devcontainer/.devcontainer/cedarwall.toml").parse().unwrap();

    let gateway = network["ipam"]["config"][0]["gateway"].as_str().unwrap();
    assert_eq!(agent["dns"], gateway, "the agent asks the wall");
    assert_eq!(configuration["dns"]["listen"][0].as_str().unwrap(), format!("{gateway}:53"));
    let bridge = network["driver_opts"]["com.docker.network.bridge.name"].as_str().unwrap();
    assert_eq!(configuration["wall"]["interfaces"][0].as_str().unwrap(), bridge);
    let address = agent["networks"]["walled"]["ipv4_address"].as_str().unwrap();
    assert_eq!(configuration["client"][0]["address"].as_str().unwrap(), address);
    assert_eq!(agent["networks"].as_object().unwrap().len(), 1, "no other way out");

    assert_eq!(agent["depends_on"]["wall"]["condition"], "service_healthy");
    assert_eq!(wall["healthcheck"]["test"], serde_json::json!(["CMD", "cedarwall", "status"]));
    assert_eq!(wall["network_mode"], "host");
    assert_eq!(wall["cap_drop"][0], "ALL");
    assert_eq!(wall["cap_add"], serde_json::json!(["NET_ADMIN", "NET_BIND_SERVICE"]));
    assert!(wall["security_opt"].is_null(), "no-new-privileges would withhold its capabilities");
    assert_eq!(agent["cap_drop"][0], "ALL");
    assert_eq!(agent["security_opt"][0], "no-new-privileges:true");
}

/// Whoever may write the policy is let out: where the workspace is mounted, the
/// folder with the wall's files is mounted over it, read-only.
#[test]
fn the_agent_in_the_dev_container_cannot_write_its_policy() {
    let compose = documents(COMPOSE).remove(0);
    let mounts: Vec<&str> = compose["services"]["agent"]["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| mount.as_str().unwrap())
        .collect();
    assert_eq!(mounts, ["..:/workspace", ".:/workspace/.devcontainer:ro"]);
    let walls = compose["services"]["wall"]["volumes"].as_array().unwrap();
    let read = walls.iter().filter_map(|mount| mount.as_str().unwrap().strip_prefix("./"));
    let files: Vec<&str> = read.map(|mount| mount.split(':').next().unwrap()).collect();
    assert_eq!(files, ["cedarwall.toml", "policies"], "all that the wall reads is below that folder");
}

#[test]
fn a_policy_in_a_manifest_is_the_one_in_policies() {
    for path in [SIDECAR, NODE] {
        let map = manifest(path, "ConfigMap");
        let own = text("policies/coding-agent/coding-agent.cedar");
        assert_eq!(map["data"]["coding-agent.cedar"].as_str().unwrap().trim_end(), own.trim_end(), "{path}");
    }
}

#[test]
fn every_configuration_is_one_that_the_program_takes() {
    let mut files = with_extension("toml");
    assert_eq!(files.len(), 2, "{files:?}");
    let unpacked = tempfile::tempdir().unwrap();
    for (path, pod) in [(SIDECAR, pod(SIDECAR)), (NODE, pod(NODE))] {
        let folder = unpacked.path().join(path.replace('/', "-"));
        unpack(&manifest(path, "ConfigMap"), &pod["volumes"], &folder);
        let file = folder.join("cedarwall.toml");
        // Where the volume is mounted.
        let text = fs::read_to_string(&file).unwrap().replace("/etc/cedarwall", folder.to_str().unwrap());
        // A node's clients are added there.
        let client = "\n[[client]]\naddress = \"10.244.1.2\"\nagent = \"coder\"\n";
        fs::write(&file, if text.contains("[[client]]") { text } else { text + client }).unwrap();
        files.push(file);
    }
    for file in &files {
        check(file).unwrap_or_else(|said| panic!("{}: {said}", file.display()));
    }
    let broken = unpacked.path().join("broken.toml");
    fs::write(&broken, fs::read_to_string(&files[3]).unwrap().replace("[wall]", "[wall]\ninterface = 1")).unwrap();
    assert!(check(&broken).is_err());
}

/// The specification of an example's pod, or of the pods of its DaemonSet.
pub fn pod(path: &str) -> Value {
    let is_pod = |document: &Value| document["kind"] == "Pod";
    match documents(path).iter().find(|document| is_pod(document)) {
        Some(pod) => pod["spec"].clone(),
        None => manifest(path, "DaemonSet")["spec"]["template"]["spec"].clone(),
    }
}
