//! SmartDNS (Debian: 40), without its probing of the addresses in answers. It
//! has no allowlist.

use std::path::PathBuf;

use super::{Recipe, Setting};
use crate::lab::{SERVER, UPSTREAM};

/// How it is started.
pub fn recipe(setting: &Setting) -> Recipe {
    let config = format!(
        "bind {SERVER}
cache-size {cache}
cache-persist no
prefetch-domain no
serve-expired no
speed-check-mode none
dualstack-ip-selection no
response-mode fastest-response
user root
log-level fatal
log-num 0
audit-enable no
server {UPSTREAM}
",
        cache = setting.cache,
    );
    let folder = setting.folder.display();
    let arguments = ["-f", "-c", &format!("{folder}/smartdns.conf"), "-p", "-"];
    Recipe {
        program: PathBuf::from("/usr/sbin/smartdns"),
        arguments: arguments.map(ToOwned::to_owned).to_vec(),
        files: vec![("smartdns.conf".into(), config)],
        rules: None,
    }
}
