//! dnsdist (Debian: 1.7) with its packet cache, with and without batched system
//! calls, which it makes where it is told to.

use std::path::PathBuf;

use super::{Recipe, Setting};
use crate::lab::{SERVER, UPSTREAM};

/// How it is started.
pub fn recipe(setting: &Setting, batched: bool) -> Recipe {
    let config = format!(
        "setLocal('{SERVER}')
setACL({{'10.77.0.0/24'}})
setSecurityPollSuffix('')
setMaxUDPOutstanding(65535)
{batches}
newServer({{address='{UPSTREAM}', sockets=8}})
getPool(''):setCache(newPacketCache({cache}))
allowed = newSuffixMatchNode()
allowed:add(newDNSName('example.com.'))
addAction(NotRule(SuffixMatchNodeRule(allowed)), RCodeAction(DNSRCode.NXDOMAIN))
",
        cache = setting.cache,
        batches = if batched { "setUDPMultipleMessagesVectorSize(64)" } else { "" },
    );
    let file = format!("{}/dnsdist.conf", setting.folder.display());
    Recipe {
        program: PathBuf::from("/usr/bin/dnsdist"),
        arguments: ["--supervised", "--disable-syslog", "-C", &file].map(ToOwned::to_owned).to_vec(),
        files: vec![("dnsdist.conf".into(), config)],
        rules: None,
    }
}
