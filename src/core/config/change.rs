//! From one configuration to the next while the daemon runs: what takes effect
//! at once, and what has to wait for the next start.

use super::{Config, Dns, Docker, Evidence, Journal, LeaseSettings, PolicySettings, Rotation, Wall};

/// A configuration that can be carried out by a running daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What is wanted where that can change, and what runs everywhere else.
    pub config: Config,
    /// The settings, `table.key`, that take effect at the next start.
    pub waiting: Vec<&'static str>,
}

impl Config {
    /// The step from this configuration, which runs, to the `wanted` one.
    ///
    /// Sockets, files, the table and the rules in it are made once; whatever
    /// stands in them waits.
    pub fn step_to(&self, wanted: Self) -> Step {
        let mut waiting = Waiting(Vec::new());
        // Without `..`: a setting that is added has to say here what it does.
        let Self { dns, policy, wall, lease, names, clients, control, journal, evidence, docker } = wanted;
        let config = Self {
            dns: waiting.dns(self, dns),
            policy: {
                let PolicySettings { path, catch_all_forbid, watch, mode } = policy;
                PolicySettings { path, catch_all_forbid, watch, mode }
            },
            wall: waiting.wall(&self.wall, wall),
            lease: waiting.lease(self.lease, lease),
            names: waiting.keep("names", &self.names, names),
            clients,
            control: waiting.keep("control.socket", &self.control, control),
            journal: waiting.journal(&self.journal, journal),
            evidence: waiting.evidence(self.evidence, evidence),
            docker: waiting.docker(self.docker.as_ref(), docker),
        };
        Step { config, waiting: waiting.0 }
    }
}

struct Waiting(Vec<&'static str>);

impl Waiting {
    /// What runs, noting the setting `name` if it was to change.
    fn keep<T: PartialEq + Clone>(&mut self, name: &'static str, running: &T, wanted: T) -> T {
        if *running == wanted {
            return wanted;
        }
        self.0.push(name);
        running.clone()
    }

    fn dns(&mut self, running: &Config, wanted: Dns) -> Dns {
        let Dns {
            listen,
            upstream,
            deny,
            deny_ttl,
            cache_entries,
            max_in_flight,
            max_connections,
            idle_timeout,
            upstream_timeout,
            in_flight_per_client,
            queries_per_second,
            burst,
            search,
        } = wanted;
        let now = &running.dns;
        Dns {
            listen: self.keep("dns.listen", &now.listen, listen),
            // The sidecar's rules let the daemon reach these servers alone.
            upstream: if running.wall.mode.is_sidecar() {
                self.keep("dns.upstream", &now.upstream, upstream)
            } else {
                upstream
            },
            deny,
            deny_ttl,
            cache_entries,
            max_in_flight: self.keep("dns.max_in_flight", &now.max_in_flight, max_in_flight),
            max_connections: self.keep("dns.max_connections", &now.max_connections, max_connections),
            idle_timeout: self.keep("dns.idle_timeout", &now.idle_timeout, idle_timeout),
            upstream_timeout,
            in_flight_per_client: self.keep(
                "dns.in_flight_per_client",
                &now.in_flight_per_client,
                in_flight_per_client,
            ),
            queries_per_second: self.keep("dns.queries_per_second", &now.queries_per_second, queries_per_second),
            burst: self.keep("dns.burst", &now.burst, burst),
            search,
        }
    }

    fn wall(&mut self, running: &Wall, wanted: Wall) -> Wall {
        let Wall { mode, verdict, allow_ranges, table, protect, dns_packets_per_second, log_group, dns_capture } =
            wanted;
        let is_other_mode = running.mode.is_sidecar() != mode.is_sidecar();
        let name = if is_other_mode { "wall.mode" } else { "wall.interfaces" };
        let is_other_port = running.dns_capture.is_some() && dns_capture.is_some();
        let capture = if is_other_port { "wall.dns_capture_port" } else { "wall.dns_capture" };
        Wall {
            mode: self.keep(name, &running.mode, mode),
            verdict: self.keep("wall.verdict", &running.verdict, verdict),
            allow_ranges,
            table: self.keep("wall.table", &running.table, table),
            protect: self.keep("wall.protect", &running.protect, protect),
            dns_packets_per_second: self.keep(
                "wall.dns_packets_per_second",
                &running.dns_packets_per_second,
                dns_packets_per_second,
            ),
            log_group: self.keep("wall.log_group", &running.log_group, log_group),
            dns_capture: self.keep(capture, &running.dns_capture, dns_capture),
        }
    }

    /// The file is opened once, and turned over by whoever writes to it.
    fn journal(&mut self, running: &Journal, wanted: Journal) -> Journal {
        let Journal { path, rotation: Rotation { max_size, max_age, keep } } = wanted;
        let now = running.rotation;
        Journal {
            path: self.keep("journal.path", &running.path, path),
            rotation: Rotation {
                max_size: self.keep("journal.max_size", &now.max_size, max_size),
                max_age: self.keep("journal.max_age", &now.max_age, max_age),
                keep: self.keep("journal.keep", &now.keep, keep),
            },
        }
    }

    fn evidence(&mut self, running: Evidence, wanted: Evidence) -> Evidence {
        let Evidence { processes, hold } = wanted;
        Evidence {
            processes: self.keep("evidence.processes", &running.processes, processes),
            hold: self.keep("evidence.hold", &running.hold, hold),
        }
    }

    /// Which engine is asked, if any, is decided at the start; of what it says,
    /// the rules make something else at once.
    fn docker(&mut self, running: Option<&Docker>, wanted: Option<Docker>) -> Option<Docker> {
        match (running, wanted) {
            (Some(running), Some(Docker { socket, bridges, agents })) => Some(Docker {
                socket: self.keep("docker.socket", &running.socket, socket),
                bridges: self.keep("docker.bridges", &running.bridges, bridges),
                agents,
            }),
            (running, wanted) => self.keep("docker.enabled", &running.cloned(), wanted),
        }
    }

    fn lease(&mut self, running: LeaseSettings, wanted: LeaseSettings) -> LeaseSettings {
        let LeaseSettings { min, max, grace, per_client, set_size, per_name, total } = wanted;
        let set_size = self.keep("lease.set_size", &running.set_size, set_size);
        // More than the kernel's sets have room for comes with the larger sets.
        let fits = per_client <= set_size;
        let per_client = if fits { per_client } else { self.keep("lease.per_client", &running.per_client, per_client) };
        let total = if total <= set_size { total } else { self.keep("lease.total", &running.total, total) };
        LeaseSettings { min, max, grace, per_client, set_size, per_name, total }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(change: impl Fn(&str) -> String) -> Config {
        let text = r#"
[dns]
listen = ["10.77.0.1:53"]
upstream = ["udp://192.0.2.53"]
[policy]
[wall]
interfaces = ["agents"]
[lease]
set_size = 8192
[control]
[journal]
[[client]]
address = "10.77.0.2"
agent = "claude"
"#;
        Config::parse("cedarwall.toml", &change(text)).unwrap()
    }

    fn step(changes: &[(&str, &str)]) -> Step {
        let change = |text: &str| {
            changes.iter().fold(text.to_owned(), |text, (from, to)| {
                assert!(text.contains(from), "{from}");
                text.replace(from, to)
            })
        };
        config(ToOwned::to_owned).step_to(config(change))
    }

    #[test]
    fn what_can_change_while_the_daemon_runs_does() {
        let changes = [
            ("192.0.2.53", "192.0.2.54"),
            (
                "[dns]",
                "[dns]\ndeny = \"refused\"\ndeny_ttl = \"1s\"\nupstream_timeout = \"1s\"\ncache_entries = 1\nsearch = [\"corp.example.com\"]",
            ),
            (
                "[policy]",
                "[policy]\npath = \"other\"\ncatch_all_forbid = \"default-deny\"\nwatch = false\nmode = \"audit\"",
            ),
            ("[wall]", "[wall]\nallow_ranges = [\"10.20.0.0/16\"]"),
            ("[lease]", "[lease]\nmin = \"1s\"\nmax = \"2s\"\ngrace = \"1s\"\nper_client = 7"),
            ("claude", "ci"),
        ];
        let change = |text: &str| changes.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
        let Step { config: after, waiting } = step(&changes);
        assert_eq!(waiting, Vec::<&str>::new());
        assert_eq!(after, config(change));
    }

    #[test]
    fn what_cannot_change_stays_as_it_runs_and_is_named() {
        let Step { config: after, waiting } = step(&[
            ("10.77.0.1:53", "10.77.0.9:53"),
            ("[dns]", "[dns]\nmax_in_flight = 7\nmax_connections = 7\nidle_timeout = \"7s\""),
            ("upstream =", "queries_per_second = 7\nburst = 7\nupstream ="),
            ("agents", "others"),
            (
                "[wall]",
                "[wall]\nverdict = \"reject\"\ntable = \"other\"\nprotect = true\ndns_packets_per_second = 7\nlog_group = 7\n\
                 dns_capture_port = 7777",
            ),
            ("[[client]]", "[names]\nper_minute = 7\n[[client]]"),
            ("8192", "16384\nper_client = 10000"),
            ("[control]", "[control]\nsocket = \"/run/other.sock\""),
            (
                "[journal]",
                "[evidence]\nprocesses = false\nhold = \"50ms\"\n\
                 [journal]\npath = \"events.jsonl\"\nmax_size = \"7MB\"\nmax_age = \"7h\"\nkeep = 3",
            ),
        ]);
        let expected = [
            "dns.listen",
            "dns.max_in_flight",
            "dns.max_connections",
            "dns.idle_timeout",
            // Half of `max_in_flight` unless it is said.
            "dns.in_flight_per_client",
            "dns.queries_per_second",
            "dns.burst",
            "wall.interfaces",
            "wall.verdict",
            "wall.table",
            "wall.protect",
            "wall.dns_packets_per_second",
            "wall.log_group",
            "wall.dns_capture_port",
            "lease.set_size",
            "lease.per_client",
            "lease.total",
            "names",
            "control.socket",
            "journal.path",
            "journal.max_size",
            "journal.max_age",
            "journal.keep",
            "evidence.processes",
            "evidence.hold",
        ];
        assert_eq!(waiting, expected);
        assert_eq!(after, config(ToOwned::to_owned));
    }

    #[test]
    fn a_sidecar_keeps_its_upstream_servers_because_its_rules_name_them() {
        let sidecar = |text: &str| text.replace("[wall]", "[wall]\nmode = \"sidecar\"");
        let other = |text: &str| sidecar(text).replace("192.0.2.53", "192.0.2.54");
        assert_eq!(config(sidecar).step_to(config(other)).waiting, ["dns.upstream"]);
        assert_eq!(config(ToOwned::to_owned).step_to(config(sidecar)).waiting, ["wall.mode", "wall.dns_capture"]);
    }

    #[test]
    fn captured_or_not_the_wall_stands_as_it_was_made() {
        let off = |text: &str| text.replace("[wall]", "[wall]\ndns_capture = false");
        let step = config(ToOwned::to_owned).step_to(config(off));
        assert_eq!((step.waiting, step.config), (vec!["wall.dns_capture"], config(ToOwned::to_owned)));
    }
}
