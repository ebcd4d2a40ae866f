//! Every option of `docker run` (20.10 to 28), and what it comes to. An option
//! that is not here is refused: what it does, and whether the next word is its
//! value, is not known. Pure.

use super::refusal::Reason;

/// An option.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// Whether it is a switch; otherwise it takes a value.
    pub(super) is_switch: bool,
    /// What it comes to.
    pub(super) verdict: Verdict,
}

/// What an option comes to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict {
    /// The container stays where it is.
    Harmless,
    /// `-d`.
    Detach,
    /// It does not, whatever the value.
    Refused(fn() -> Reason),
    /// It depends on the value: why not, if not.
    Judged(fn(&str) -> Option<Reason>),
    /// `-v`: a folder of the host's, perhaps.
    Volume,
    /// `--mount`.
    Mount,
}

use Verdict::{Detach, Harmless, Judged, Mount, Refused, Volume};

/// One-letter names.
const SHORT: [(char, &str); 15] = [
    ('a', "attach"),
    ('c', "cpu-shares"),
    ('d', "detach"),
    ('e', "env"),
    ('h', "hostname"),
    ('i', "interactive"),
    ('l', "label"),
    ('m', "memory"),
    ('P', "publish-all"),
    ('p', "publish"),
    ('q', "quiet"),
    ('t', "tty"),
    ('u', "user"),
    ('v', "volume"),
    ('w', "workdir"),
];

/// Switches.
const SWITCHES: [(&str, Verdict); 14] = [
    ("detach", Detach),
    ("disable-content-trust", Harmless),
    ("init", Harmless),
    ("interactive", Harmless),
    ("no-healthcheck", Harmless),
    ("oom-kill-disable", Harmless),
    ("privileged", Refused(|| Reason::Privileged)),
    ("publish-all", Refused(|| Reason::Published)),
    ("quiet", Harmless),
    ("read-only", Harmless),
    ("rm", Harmless),
    ("sig-proxy", Harmless),
    ("tty", Harmless),
    // Hands the engine's own socket to the container.
    ("use-api-socket", Refused(|| Reason::Privileged)),
];

/// Options with a value.
const VALUED: [(&str, Verdict); 89] = [
    ("add-host", Harmless),
    ("annotation", Refused(|| Reason::Security)),
    ("attach", Harmless),
    ("blkio-weight", Harmless),
    ("blkio-weight-device", Harmless),
    ("cap-add", Judged(capability)),
    ("cap-drop", Harmless),
    ("cgroup-parent", Harmless),
    ("cgroupns", Judged(namespace)),
    ("cidfile", Harmless),
    ("cpu-count", Harmless),
    ("cpu-percent", Harmless),
    ("cpu-period", Harmless),
    ("cpu-quota", Harmless),
    ("cpu-rt-period", Harmless),
    ("cpu-rt-runtime", Harmless),
    ("cpu-shares", Harmless),
    ("cpus", Harmless),
    ("cpuset-cpus", Harmless),
    ("cpuset-mems", Harmless),
    ("detach-keys", Harmless),
    ("device", Refused(|| Reason::Device)),
    ("device-cgroup-rule", Refused(|| Reason::Device)),
    ("device-read-bps", Harmless),
    ("device-read-iops", Harmless),
    ("device-write-bps", Harmless),
    ("device-write-iops", Harmless),
    ("dns", Refused(|| Reason::Resolver)),
    ("dns-opt", Refused(|| Reason::Resolver)),
    ("dns-option", Refused(|| Reason::Resolver)),
    ("dns-search", Refused(|| Reason::Resolver)),
    ("domainname", Harmless),
    ("entrypoint", Harmless),
    ("env", Harmless),
    ("env-file", Harmless),
    ("expose", Harmless),
    ("gpus", Harmless),
    ("group-add", Harmless),
    ("health-cmd", Harmless),
    ("health-interval", Harmless),
    ("health-retries", Harmless),
    ("health-start-interval", Harmless),
    ("health-start-period", Harmless),
    ("health-timeout", Harmless),
    ("hostname", Harmless),
    ("ip", Refused(|| Reason::Network)),
    ("ip6", Refused(|| Reason::Network)),
    ("ipc", Judged(namespace)),
    ("kernel-memory", Harmless),
    ("label", Judged(label)),
    // A file could hold labels of ours.
    ("label-file", Refused(|| Reason::Ours)),
    ("link", Refused(|| Reason::Network)),
    ("link-local-ip", Refused(|| Reason::Network)),
    ("log-driver", Judged(log_driver)),
    ("log-opt", Harmless),
    ("mac-address", Refused(|| Reason::Network)),
    ("memory", Harmless),
    ("memory-reservation", Harmless),
    ("memory-swap", Harmless),
    ("memory-swappiness", Harmless),
    ("mount", Mount),
    ("name", Harmless),
    ("net", Refused(|| Reason::Network)),
    ("net-alias", Refused(|| Reason::Network)),
    ("network", Refused(|| Reason::Network)),
    ("network-alias", Refused(|| Reason::Network)),
    ("oom-score-adj", Harmless),
    ("pid", Refused(|| Reason::Namespace)),
    ("pids-limit", Harmless),
    ("platform", Harmless),
    ("publish", Refused(|| Reason::Published)),
    ("pull", Harmless),
    ("restart", Judged(restart)),
    // Which of them there are, the host's administrator has said.
    ("runtime", Harmless),
    ("security-opt", Judged(security)),
    ("shm-size", Harmless),
    ("stop-signal", Harmless),
    ("stop-timeout", Harmless),
    ("storage-opt", Harmless),
    // The engine takes those of the container's own namespaces alone.
    ("sysctl", Harmless),
    ("tmpfs", Harmless),
    ("ulimit", Harmless),
    ("user", Harmless),
    ("userns", Refused(|| Reason::Namespace)),
    ("uts", Judged(namespace)),
    ("volume", Volume),
    ("volume-driver", Refused(|| Reason::Volume)),
    ("volumes-from", Refused(|| Reason::Volume)),
    ("workdir", Harmless),
];

/// The option of this long name.
pub(super) fn long(name: &str) -> Option<Known> {
    let of = |table: &[(&'static str, Verdict)], is_switch| {
        let (_, verdict) = table.iter().find(|(known, _)| *known == name)?;
        Some(Known { is_switch, verdict: *verdict })
    };
    of(&SWITCHES, true).or_else(|| of(&VALUED, false))
}

/// The option of this one letter.
pub(super) fn short(letter: char) -> Option<Known> {
    long(SHORT.iter().find(|(known, _)| *known == letter)?.1)
}

/// Capabilities that reach nothing outside the container's own namespaces:
/// Docker's default list, and those that debuggers, databases and real-time
/// programs ask for. `NET_ADMIN` is not among them although the wall, in the
/// host's namespace, is out of its reach: it opens much more of the kernel's
/// network code, and a container that changes its address loses its leases.
const CAPABILITIES: [&str; 22] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
    "SYS_NICE",
    "SYS_PTRACE",
    "SYS_RESOURCE",
];

fn capability(value: &str) -> Option<Reason> {
    let upper = value.to_ascii_uppercase();
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
    (!CAPABILITIES.contains(&name)).then_some(Reason::Capability)
}

fn namespace(value: &str) -> Option<Reason> {
    (!matches!(value, "" | "private" | "none" | "shareable")).then_some(Reason::Namespace)
}

fn label(value: &str) -> Option<Reason> {
    value.starts_with("cedarwall.").then_some(Reason::Ours)
}

fn log_driver(value: &str) -> Option<Reason> {
    (!matches!(value, "json-file" | "local" | "journald" | "none")).then_some(Reason::LogDriver)
}

fn restart(value: &str) -> Option<Reason> {
    (!matches!(value, "" | "no")).then_some(Reason::Restart)
}

fn security(value: &str) -> Option<Reason> {
    let harmless = ["no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"];
    (!harmless.contains(&value)).then_some(Reason::Security)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_option_stands_once_and_in_order() {
        assert!(SWITCHES.is_sorted_by_key(|(name, _)| *name));
        assert!(VALUED.is_sorted_by_key(|(name, _)| *name));
        for (name, _) in SWITCHES {
            assert!(!VALUED.iter().any(|(other, _)| *other == name), "{name}");
        }
        for (letter, name) in SHORT {
            assert!(short(letter).is_some(), "{letter}: {name}");
        }
    }

    #[test]
    fn no_capability_that_reaches_beyond_the_container_is_given() {
        for beyond in ["ALL", "NET_ADMIN", "CAP_SYS_ADMIN", "sys_module", "cap_bpf", "DAC_READ_SEARCH", "SYS_RAWIO", ""]
        {
            assert_eq!(capability(beyond), Some(Reason::Capability), "{beyond}");
        }
        for within in ["SYS_PTRACE", "cap_net_raw", "CAP_CHOWN"] {
            assert_eq!(capability(within), None, "{within}");
        }
    }
}
