//! What `run` and `docker run` are told about their wall.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::ValueEnum;
use ipnet::IpNet;

use super::report::{self, Texts};
use super::{Error, catch_all_forbid, output};
use crate::core::config::{CatchAllForbid, DenyAnswer, PacketVerdict};
use crate::core::query::Agent;
use crate::run;

/// The options that say what the wall is like.
#[derive(Debug, clap::Args)]
pub(super) struct Walled {
    /// A .cedar file, or a folder of them
    #[arg(long, default_value = "policies", value_name = "PATH")]
    policy: PathBuf,
    /// Whom the policy knows the command as
    #[arg(long, default_value = "claude", value_name = "NAME", value_parser = Agent::parse)]
    agent: Agent,
    /// How an unconditional forbid over everything is read
    #[arg(long, default_value = "strict", value_name = "HOW", value_parser = catch_all_forbid())]
    catch_all_forbid: CatchAllForbid,
    /// A special-purpose range that answers may carry; may be repeated
    #[arg(long, value_name = "CIDR")]
    allow_range: Vec<IpNet>,
    /// An upstream DNS server [default: those of /etc/resolv.conf]
    #[arg(long, value_name = "ADDRESS", value_parser = upstream)]
    upstream: Vec<SocketAddr>,
    /// What a denied name gets
    #[arg(long, default_value = "nxdomain", value_name = "ANSWER")]
    deny: Deny,
    /// What happens to a packet that no lease admits
    #[arg(long, default_value = "drop", value_name = "VERDICT")]
    verdict: Verdict,
    /// Keep the journal of the run in this file
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// The summary on standard error as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Deny {
    Nxdomain,
    Refused,
    Sinkhole,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Verdict {
    Drop,
    Reject,
}

/// `192.0.2.53` or `192.0.2.53:5353`.
fn upstream(text: &str) -> Result<SocketAddr, String> {
    let bare = || text.parse::<IpAddr>().map(|address| SocketAddr::new(address, 53));
    text.parse().or_else(|_| bare()).map_err(|_| "an upstream is an address such as 192.0.2.53 or 192.0.2.53:53".into())
}

impl Walled {
    /// The settings of a run of `command`. What is wrong with the policy, and
    /// what is doubtful, is told first, where the user looks.
    ///
    /// # Errors
    /// When the policy cannot be used.
    pub(super) fn settings(self, command: Vec<String>) -> Result<run::Settings, Error> {
        let (loaded, sources) = report::policy(&self.policy, self.catch_all_forbid)?;
        let coloured = output::is_coloured(&io::stderr());
        report::write_human(&mut io::stderr(), &loaded.warnings, &Texts::of_policy(&sources), coloured)?;
        Ok(run::Settings {
            policy: self.policy,
            agent: self.agent,
            catch_all_forbid: self.catch_all_forbid,
            allow_ranges: self.allow_range,
            upstream: self.upstream,
            deny: match self.deny {
                Deny::Nxdomain => DenyAnswer::Nxdomain,
                Deny::Refused => DenyAnswer::Refused,
                Deny::Sinkhole => DenyAnswer::Sinkhole,
            },
            verdict: match self.verdict {
                Verdict::Drop => PacketVerdict::Drop,
                Verdict::Reject => PacketVerdict::Reject,
            },
            journal: self.journal,
            json: self.json,
            command,
        })
    }
}
