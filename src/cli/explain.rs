//! `cedarwall explain`.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::report::{self, Texts};
use super::{DENIED, Error, catch_all_forbid, output};
use crate::core::config::CatchAllForbid;
use crate::core::decision::{Decision, Opening, PolicyId};
use crate::core::name::Name;
use crate::core::policy::{Loaded, Policy};
use crate::core::query::{Agent, Client, Port, Protocol, Query, RecordKind};
use crate::core::time::WallTime;

/// What follows the options in the help.
const EXAMPLES: &str = "\
Examples:
  cedarwall explain --policy policies/team --agent claude \\
      registry.example.org
  cedarwall explain --policy policies/team --agent release \\
      git.example.com:22/tcp
  cedarwall explain --policy policies/team --agent claude \\
      --ip 192.0.2.7 db.example.com:5432
  cedarwall explain --config /etc/cedarwall/cedarwall.toml \\
      --agent claude api.example.com

Exit status: 0 if it is permitted, 3 if it is denied, 1 if the policy has an
error.";

/// Say whether an agent may reach a host, and which policies decide
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// A .cedar file, or a folder of them with an optional entities.json
    #[arg(long, value_name = "PATH", required_unless_present = "config", conflicts_with = "config")]
    policy: Option<PathBuf>,
    /// The configuration that names the policy
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Who asks: `claude` is Agent::"claude"
    #[arg(long, value_name = "NAME", value_parser = Agent::parse)]
    agent: Agent,
    /// The address the agent asks from [default: the first of the agent's in
    /// the configuration, or 127.0.0.1]
    #[arg(long, value_name = "IP")]
    client: Option<IpAddr>,
    /// An address of the host, for policies that look at `context.ip`
    #[arg(long, value_name = "ADDR")]
    ip: Option<IpAddr>,
    /// How to read a forbid over everything: `strict` as Cedar does, or as the
    /// default it was meant to be [default: the configuration's, or strict]
    #[arg(long, value_name = "HOW", value_parser = catch_all_forbid())]
    catch_all_forbid: Option<CatchAllForbid>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The host, and the port and protocol if one is meant in particular
    #[arg(value_name = "HOST[:PORT[/tcp|udp]]")]
    target: Target,
}

pub(super) fn execute(arguments: &Arguments, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let settings = settings(arguments)?;
    let (loaded, sources) = report::policy(&settings.path, settings.reading)?;

    let query = Query {
        client: settings.client,
        addresses: [settings.client].into(),
        agent: arguments.agent.clone(),
        name: arguments.target.host.clone(),
        kind: if arguments.ip.is_some_and(|address| address.is_ipv6()) { RecordKind::Aaaa } else { RecordKind::A },
        dnssec_ok: false,
        checking_disabled: false,
    };
    let now = now();
    let verdict = verdict(&loaded.policy, &query, &arguments.target, arguments.ip, now);
    if arguments.json {
        write_json(&loaded, &verdict, arguments, out)?;
    } else {
        let coloured = output::is_coloured(&io::stdout());
        report::write_human(out, &loaded.warnings, &Texts::of_policy(&sources), coloured)?;
        write_text(&loaded.policy, &verdict, arguments, out)?;
        if let (Some(_), Decision::Permit(permit)) = (&verdict.reason, loaded.policy.decide(&query, now)) {
            let open: Vec<_> = permit.openings.iter().map(ToString::to_string).collect();
            writeln!(out, "\nThe name itself may be asked for; it opens {}.", open.join(", "))?;
        }
    }
    Ok(if verdict.openings.is_empty() { ExitCode::from(DENIED) } else { ExitCode::SUCCESS })
}

/// A host, perhaps with a port, perhaps with a protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    host: Name,
    port: Option<Port>,
    protocol: Option<Protocol>,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (text, protocol) = match text.rsplit_once('/') {
            Some((text, protocol)) => (text, Some(protocol.parse::<Protocol>().map_err(|error| error.to_string())?)),
            None => (text, None),
        };
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port.parse::<Port>().map_err(|error| error.to_string())?)),
            None => (text, None),
        };
        if protocol.is_some() && port.is_none() {
            return Err("a protocol needs a port: HOST:PORT/tcp".to_owned());
        }
        if host.parse::<IpAddr>().is_ok() {
            return Err("policies speak of names; give the host's, and its address with --ip".to_owned());
        }
        let host = Name::parse(host).map_err(|error| error.to_string())?;
        Ok(Self { host, port, protocol })
    }
}

struct Settings {
    path: PathBuf,
    reading: CatchAllForbid,
    client: Client,
}

fn settings(arguments: &Arguments) -> Result<Settings, Error> {
    let client = |from_config| arguments.client.map(Client::new).or(from_config);
    let local = Client::new(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let Some(file) = &arguments.config else {
        return Ok(Settings {
            path: arguments.policy.as_deref().unwrap_or(Path::new("policies")).to_owned(),
            reading: arguments.catch_all_forbid.unwrap_or_default(),
            client: client(None).unwrap_or(local),
        });
    };
    let config = report::configuration(file)?;
    let known = config.clients.iter().find(|entry| entry.agent == arguments.agent);
    let known = known.and_then(|entry| entry.addresses.first().copied());
    Ok(Settings {
        path: config.policy.path,
        reading: arguments.catch_all_forbid.unwrap_or(config.policy.catch_all_forbid),
        client: client(known).unwrap_or(local),
    })
}

fn now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// What was decided about all that was asked.
struct Verdict {
    openings: Vec<Opening>,
    policies: Vec<PolicyId>,
    /// Why not, if nothing is open.
    reason: Option<String>,
    /// Whether the addresses have a say that was not heard.
    depends_on_address: bool,
}

fn verdict(policy: &Policy, query: &Query, target: &Target, address: Option<IpAddr>, now: WallTime) -> Verdict {
    let decisions: Vec<_> = match (target.port, address) {
        (Some(port), _) => {
            let protocols =
                Protocol::ALL.into_iter().filter(|protocol| target.protocol.is_none_or(|asked| asked == *protocol));
            protocols.map(|protocol| policy.decide_connection(query, protocol, port, address, now)).collect()
        }
        (None, Some(address)) => vec![policy.decide_address(query, address, now)],
        (None, None) => vec![policy.decide(query, now)],
    };
    let mut verdict = Verdict { openings: Vec::new(), policies: Vec::new(), reason: None, depends_on_address: false };
    let mut denials = Vec::new();
    for decision in decisions {
        match decision {
            Decision::Permit(permit) => {
                verdict.openings.extend_from_slice(&permit.openings);
                verdict.policies.extend(permit.policies);
                verdict.depends_on_address |= permit.judges_addresses && address.is_none();
            }
            Decision::Deny(denial) => denials.push(denial),
        }
    }
    if verdict.openings.is_empty() {
        verdict.reason = denials.first().map(|denial| denial.reason.to_string());
        verdict.policies = denials.into_iter().flat_map(|denial| denial.policies).collect();
    }
    verdict.policies.sort();
    verdict.policies.dedup();
    verdict
}

fn write_text(policy: &Policy, verdict: &Verdict, arguments: &Arguments, out: &mut dyn Write) -> Result<(), Error> {
    let (agent, host) = (&arguments.agent, &arguments.target.host);
    match &verdict.reason {
        None => {
            writeln!(out, "permitted: Agent::\"{agent}\" may connect to {host} on")?;
            for opening in &verdict.openings {
                writeln!(out, "  {opening}")?;
            }
        }
        Some(reason) => writeln!(out, "denied: Agent::\"{agent}\" to {host}: {reason}")?,
    }
    if verdict.depends_on_address {
        writeln!(out, "A policy looks at the address: only some of the host's may be open. Name one with --ip.")?;
    }
    if verdict.policies.is_empty() {
        writeln!(out, "No policy decided: what none permits is denied.")?;
    }
    for statement in verdict.policies.iter().filter_map(|id| policy.statement(id)) {
        writeln!(out, "\n{} ({}:{})", statement.id, statement.place.file, statement.place.line)?;
        for line in statement.text.lines() {
            writeln!(out, "  {line}")?;
        }
    }
    Ok(())
}

fn write_json(loaded: &Loaded, verdict: &Verdict, arguments: &Arguments, out: &mut dyn Write) -> Result<(), Error> {
    let openings: Vec<_> = verdict
        .openings
        .iter()
        .map(|opening| {
            let ports = opening.ports;
            json!({ "protocol": opening.protocol, "first": ports.first(), "last": ports.last() })
        })
        .collect();
    let policies: Vec<_> = verdict
        .policies
        .iter()
        .filter_map(|id| loaded.policy.statement(id))
        .map(|statement| json!({ "id": statement.id, "place": statement.place, "text": &*statement.text }))
        .collect();
    let json = json!({
        "permitted": verdict.reason.is_none(),
        "agent": arguments.agent,
        "host": arguments.target.host,
        "reason": verdict.reason,
        "openings": openings,
        "depends_on_address": verdict.depends_on_address,
        "policies": policies,
        "warnings": loaded.warnings,
    });
    Ok(writeln!(out, "{json:#}")?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn explained(line: &[&str]) -> (ExitCode, String) {
        let line = Line::parse_from([&["explain"], line].concat());
        let mut out = Vec::new();
        let code = execute(&line.arguments, &mut out).unwrap();
        (code, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_permit_is_told_with_its_ports_and_its_policy() {
        let (code, out) = explained(&["--policy", "policies/team", "--agent", "release", "git.example.com"]);
        assert_eq!(code, ExitCode::SUCCESS);
        assert!(out.contains("  22/tcp\n  443/tcp\n"), "{out}");
        assert!(out.contains("release-git (policies/team/team.cedar:14)\n  @id(\"release-git\")\n"), "{out}");
    }

    #[test]
    fn a_denial_has_its_own_exit_status_and_reason() {
        let team = ["--policy", "policies/team", "--agent", "claude"];
        for (target, word) in [
            ("git.example.com:22/tcp", "No policy decided"),
            ("a.telemetry.example.com", "no-telemetry (policies/team/team.cedar:47)"),
            ("registry.example.org:80", "it opens 443/tcp, 443/udp."),
        ] {
            let (code, out) = explained(&[&team[..], &[target]].concat());
            assert_eq!(code, ExitCode::from(DENIED), "{out}");
            assert!(out.contains(word), "{out}");
        }
    }

    #[test]
    fn an_address_is_judged_where_one_is_named() {
        let team = ["--policy", "policies/team", "--agent", "claude"];
        let (_, out) = explained(&[&team[..], &["db.example.com"]].concat());
        assert!(out.contains("Name one with --ip"), "{out}");
        let (code, _) = explained(&[&team[..], &["--ip", "192.0.2.7", "db.example.com:5432"]].concat());
        assert_eq!(code, ExitCode::SUCCESS);
        let (code, _) = explained(&[&team[..], &["--ip", "198.51.100.7", "db.example.com"]].concat());
        assert_eq!(code, ExitCode::from(DENIED));
    }

    #[test]
    fn json_says_the_same() {
        let (_, out) = explained(&["--policy", "policies/team", "--agent", "release", "--json", "git.example.com:22"]);
        let json: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(json["permitted"], true);
        assert_eq!(json["openings"], json!([{ "protocol": "tcp", "first": 22, "last": 22 }]));
        assert_eq!(json["policies"][0]["id"], "release-git");
    }

    #[test]
    fn a_target_is_a_host_and_perhaps_a_port_and_a_protocol() {
        for text in ["", "a:0", "a:1/sctp", "a/tcp", "192.0.2.1", "a b", "2001:db8::1"] {
            assert!(text.parse::<Target>().is_err(), "{text:?}");
        }
        let target: Target = "API.example.com:53/udp".parse().unwrap();
        assert_eq!(target.host.as_str(), "api.example.com");
        assert_eq!((target.port.map(Port::number), target.protocol), (Some(53), Some(Protocol::Udp)));
    }
}
