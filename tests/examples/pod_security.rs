//! The Pod Security Standards' level `restricted`, rule by rule:
//! <https://kubernetes.io/docs/concepts/security/pod-security-standards/>.
//! The rules for Windows are left out: the pods are Linux ones by their kind of
//! wall.

use serde_json::{Value, json};

use crate::files::manifest;
use crate::manifests::pod;

const SIDECAR: &str = "examples/kubernetes-sidecar/pod.yaml";
const AGENT: &str = "examples/kubernetes-node/agent.yaml";

/// Volumes that `restricted` admits.
const VOLUMES: [&str; 8] =
    ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"];

/// Sysctls that `baseline` admits, as of Kubernetes 1.32.
const SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

/// Types of SELinux that `baseline` admits.
const SELINUX: [&str; 5] = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

/// The rules that a pod breaks, each as `container: rule`, or `pod: rule`.
fn breaches(pod: &Value) -> Vec<String> {
    let mut found: Vec<String> = of_the_pod(pod).into_iter().map(|rule| format!("pod: {rule}")).collect();
    for kind in ["initContainers", "containers", "ephemeralContainers"] {
        for container in pod[kind].as_array().into_iter().flatten() {
            let name = container["name"].as_str().unwrap();
            found.extend(of_a_container(pod, container).into_iter().map(|rule| format!("{name}: {rule}")));
        }
    }
    found
}

fn of_the_pod(pod: &Value) -> Vec<&'static str> {
    let context = &pod["securityContext"];
    let mut found = of_a_context(context);
    if ["hostNetwork", "hostPID", "hostIPC"].iter().any(|host| pod[host] == true) {
        found.push("host namespaces");
    }
    for volume in pod["volumes"].as_array().into_iter().flatten() {
        let kinds = volume.as_object().unwrap().keys().filter(|key| *key != "name");
        found.extend(kinds.filter(|kind| !VOLUMES.contains(&kind.as_str())).map(|_| "volume types"));
    }
    let sysctls = context["sysctls"].as_array().into_iter().flatten();
    found.extend(sysctls.filter(|sysctl| !SYSCTLS.contains(&sysctl["name"].as_str().unwrap())).map(|_| "sysctls"));
    found
}

/// What a pod and a container may both say.
fn of_a_context(context: &Value) -> Vec<&'static str> {
    let mut found = Vec::new();
    if context["runAsUser"] == 0 {
        found.push("non-root user");
    }
    if context["seccompProfile"]["type"] == "Unconfined" {
        found.push("seccomp");
    }
    let selinux = &context["seLinuxOptions"];
    if !SELINUX.contains(&selinux["type"].as_str().unwrap_or_default())
        || ["user", "role"].iter().any(|key| !selinux[key].as_str().unwrap_or_default().is_empty())
    {
        found.push("SELinux");
    }
    if context["appArmorProfile"]["type"] == "Unconfined" {
        found.push("AppArmor");
    }
    found
}

fn of_a_container(pod: &Value, container: &Value) -> Vec<&'static str> {
    let context = &container["securityContext"];
    let mut found = of_a_context(context);
    // What a container does not say, its pod says for it.
    let inherited = |pointer: &str| {
        let own = context.pointer(pointer).filter(|value| !value.is_null());
        own.or_else(|| pod["securityContext"].pointer(pointer)).cloned().unwrap_or_default()
    };
    if context["privileged"] == true {
        found.push("privileged");
    }
    if context["allowPrivilegeEscalation"] != false {
        found.push("privilege escalation");
    }
    if inherited("/runAsNonRoot") != true {
        found.push("running as non-root");
    }
    if !["RuntimeDefault", "Localhost"].contains(&inherited("/seccompProfile/type").as_str().unwrap_or_default()) {
        found.push("seccomp");
    }
    let list = |key: &str| context["capabilities"][key].as_array().cloned().unwrap_or_default();
    if !list("drop").contains(&json!("ALL")) || list("add").iter().any(|added| added != "NET_BIND_SERVICE") {
        found.push("capabilities");
    }
    if container["ports"].as_array().into_iter().flatten().any(|port| port["hostPort"].as_u64().unwrap_or(0) != 0) {
        found.push("host ports");
    }
    if !["", "Default"].contains(&context["procMount"].as_str().unwrap_or_default()) {
        found.push("/proc mount type");
    }
    let handlers = ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle"].map(|key| &container[key]);
    if handlers.iter().any(|handler| names_a_host(handler)) {
        found.push("host probes");
    }
    found
}

/// A probe or hook that has the kubelet connect to somewhere else.
fn names_a_host(value: &Value) -> bool {
    match value {
        Value::Object(fields) => {
            fields.iter().any(|(key, value)| (key == "host" && value != "") || names_a_host(value))
        }
        _ => false,
    }
}

#[test]
fn the_agents_container_keeps_every_rule_of_restricted() {
    // Beside the wall: the wall's container is what the level does not admit.
    assert_eq!(breaches(&pod(SIDECAR)), ["wall: privilege escalation", "wall: capabilities"]);
    let namespace = manifest(SIDECAR, "Namespace");
    let levels = &namespace["metadata"]["labels"];
    assert_eq!(levels["pod-security.kubernetes.io/enforce"], "privileged");
    assert_eq!(levels["pod-security.kubernetes.io/warn"], "restricted");

    // Behind a wall of the node: the level is enforced.
    assert_eq!(breaches(&pod(AGENT)), Vec::<String>::new());
    let namespace = manifest(AGENT, "Namespace");
    assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted");
}

#[test]
fn each_rule_of_restricted_is_missed_when_it_is_broken() {
    let whole = json!({ "spec": pod(AGENT) });
    let container = "/spec/containers/0";
    let context = "/spec/containers/0/securityContext";
    let cases = [
        ("/spec", json!({"hostNetwork": true}), "pod: host namespaces"),
        ("/spec", json!({"hostPID": true}), "pod: host namespaces"),
        ("/spec", json!({"hostIPC": true}), "pod: host namespaces"),
        ("/spec", json!({"volumes": [{"name": "x", "hostPath": {"path": "/"}}]}), "pod: volume types"),
        (
            "/spec",
            json!({"volumes": [{"name": "x", "nfs": {"server": "192.0.2.1", "path": "/"}}]}),
            "pod: volume types",
        ),
        ("/spec/securityContext", json!({"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}), "pod: sysctls"),
        ("/spec/securityContext", json!({"runAsUser": 0}), "pod: non-root user"),
        ("/spec/securityContext", json!({"seccompProfile": null}), "agent: seccomp"),
        ("/spec/securityContext", json!({"seccompProfile": {"type": "Unconfined"}}), "pod: seccomp"),
        ("/spec/securityContext", json!({"appArmorProfile": {"type": "Unconfined"}}), "pod: AppArmor"),
        (context, json!({"privileged": true}), "agent: privileged"),
        (context, json!({"allowPrivilegeEscalation": true}), "agent: privilege escalation"),
        (context, json!({"allowPrivilegeEscalation": null}), "agent: privilege escalation"),
        (context, json!({"runAsNonRoot": null}), "agent: running as non-root"),
        (context, json!({"runAsNonRoot": false}), "agent: running as non-root"),
        (context, json!({"runAsUser": 0}), "agent: non-root user"),
        (context, json!({"capabilities": null}), "agent: capabilities"),
        (context, json!({"capabilities": {"drop": ["NET_RAW"]}}), "agent: capabilities"),
        (context, json!({"capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}}), "agent: capabilities"),
        (context, json!({"procMount": "Unmasked"}), "agent: /proc mount type"),
        (context, json!({"seLinuxOptions": {"type": "spc_t"}}), "agent: SELinux"),
        (context, json!({"seLinuxOptions": {"user": "system_u"}}), "agent: SELinux"),
        (container, json!({"ports": [{"containerPort": 1, "hostPort": 1}]}), "agent: host ports"),
        (container, json!({"livenessProbe": {"httpGet": {"port": 1, "host": "192.0.2.1"}}}), "agent: host probes"),
        (container, json!({"lifecycle": {"postStart": {"tcpSocket": {"port": 1, "host": "x"}}}}), "agent: host probes"),
    ];
    for (place, change, rule) in cases {
        let mut broken = whole.clone();
        let target = broken.pointer_mut(place).unwrap().as_object_mut().unwrap();
        target.extend(change.as_object().unwrap().clone());
        assert!(
            breaches(&broken["spec"]).contains(&rule.to_owned()),
            "{change} at {place}: {:?}",
            breaches(&broken["spec"])
        );
    }
    let beside = json!([{"name": "other", "image": "x"}]);
    for kind in ["initContainers", "ephemeralContainers"] {
        let mut broken = whole["spec"].clone();
        broken[kind] = beside.clone();
        assert!(breaches(&broken).contains(&"other: capabilities".to_owned()), "{kind}");
    }
}
