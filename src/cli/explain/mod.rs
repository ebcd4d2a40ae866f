//! `cedarwall explain`: what is asked. How the answer is told is in `text`
//! and `json`.

mod json;
mod text;

use std::io::{self, Write};
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) use self::json::nearest as nearest_json;
pub(super) use self::text::nearest as write_nearest;
use super::chosen::{Chosen, Options};
use super::report::{self, Texts};
use super::{DENIED, Error, output};
use crate::core::decision::Decision;
use crate::core::query::{Agent, Client, RecordKind};
use crate::core::question::{Particulars, Question};
use crate::core::target::Target;
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
  cedarwall explain --policy policies/working-hours --agent claude \\
      --at '2026-11-23T09:00[Europe/Berlin]' api.example.com
  cedarwall explain --policy policies/team --agent claude \\
      --type TXT example.org
  cedarwall explain --config /etc/cedarwall/cedarwall.toml \\
      --agent claude api.example.com

Exit status: 0 if it is permitted, 3 if it is denied, 1 if the policy has an
error.";

/// Say whether an agent may reach a target, and why
#[derive(Debug, clap::Args)]
#[command(
    after_help = EXAMPLES,
    group(clap::ArgGroup::new("source").args(["policy", "config"]).required(true)),
)]
pub(super) struct Arguments {
    #[command(flatten)]
    options: Options,
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
    /// When, in RFC 3339 or with a zone: 2026-11-23T09:00[Europe/Berlin]
    /// [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<WallTime>,
    /// The type of record: for one that leads to no connection, such as TXT,
    /// `dns.query` decides [default: A, or AAAA with an IPv6 address]
    #[arg(long = "type", value_name = "QTYPE")]
    kind: Option<RecordKind>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The host, and the port and protocol if one is meant in particular; or
    /// an address or network with a port: 192.0.2.7:5432, [2001:db8::1]:443
    #[arg(value_name = "HOST[:PORT[/tcp|udp]]")]
    target: Target,
}

pub(super) fn execute(arguments: &Arguments, out: &mut dyn Write) -> Result<ExitCode, Error> {
    let chosen = arguments.options.chosen()?.ok_or_else(|| Error::said("name a policy: --policy PATH"))?;
    let question = question(arguments, &chosen)?;
    let (loaded, sources) = chosen.shown()?;
    let explanation = loaded.policy.explain(&question);
    if arguments.json {
        json::write(out, &loaded, &question, &explanation)?;
    } else {
        let coloured = output::is_coloured(&io::stdout());
        report::write_human(out, &loaded.warnings, &Texts::of_policy(&sources), coloured)?;
        text::write(out, &loaded.policy, &question, &explanation)?;
    }
    Ok(match explanation.decision {
        Decision::Permit(_) => ExitCode::SUCCESS,
        Decision::Deny(_) => ExitCode::from(DENIED),
    })
}

fn question(arguments: &Arguments, chosen: &Chosen) -> Result<Question, Error> {
    let particulars = Particulars {
        client: arguments.client.map(Client::new).or_else(|| chosen.client_of(&arguments.agent, &arguments.target)),
        address: arguments.ip,
        kind: arguments.kind,
    };
    let at = arguments.at.unwrap_or_else(now);
    Question::new(arguments.agent.clone(), arguments.target.clone(), at, particulars)
        .map_err(|error| Error::said(error.to_string()))
}

/// The time of this machine.
pub(super) fn now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
