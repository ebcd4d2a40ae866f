//! dnsmasq (Debian: 2.90), with and without a set that it fills.

use std::path::PathBuf;

use super::{Recipe, Setting};
use crate::lab::{SERVER, UPSTREAM};

/// A hash set, as the wall's: dnsmasq gives its elements no time to live.
const SET: &str = "table inet bench {
    set opened { type ipv4_addr; size 1048576; }
}
";

/// Questions that it forwards at once: more than the generator has in flight,
/// and no more than that, since it goes over half as many sockets for each query.
const AT_ONCE: u32 = 256;

/// How it is started.
pub fn recipe(setting: &Setting, with_set: bool) -> Recipe {
    let config = format!(
        "keep-in-foreground
user=root
pid-file=
log-facility=/dev/null
no-resolv
no-hosts
no-poll
bind-interfaces
listen-address={address}
port={port}
cache-size={cache}
dns-forward-max={AT_ONCE}
server=/example.com/{upstream}
address=/#/
{set}
",
        address = SERVER.ip(),
        port = SERVER.port(),
        upstream = UPSTREAM.ip(),
        cache = setting.cache,
        set = if with_set { "nftset=/example.com/4#inet#bench#opened" } else { "" },
    );
    Recipe {
        program: PathBuf::from("/usr/sbin/dnsmasq"),
        arguments: vec![format!("--conf-file={}/dnsmasq.conf", setting.folder.display())],
        files: vec![("dnsmasq.conf".into(), config)],
        rules: with_set.then_some(SET),
    }
}
