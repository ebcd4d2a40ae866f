//! Knot Resolver (Debian: 5.6), as a forwarder that validates nothing.

use std::path::PathBuf;

use super::{Recipe, Setting};
use crate::lab::{SERVER, UPSTREAM};

/// How it is started.
pub fn recipe(setting: &Setting) -> Recipe {
    let folder = setting.folder.display();
    let config = format!(
        "net.listen('{address}', {port}, {{ kind = 'dns' }})
log_level('crit')
trust_anchors.remove('.')
cache.open(256 * MB, 'lmdb://{folder}/knot')
policy.add(policy.suffix(policy.STUB('{upstream}'), {{ todname('example.com.') }}))
policy.add(policy.all(policy.DENY))
",
        address = SERVER.ip(),
        port = SERVER.port(),
        upstream = UPSTREAM.ip(),
    );
    let arguments = ["-n", "-c", &format!("{folder}/kresd.conf"), &folder.to_string()];
    Recipe {
        program: PathBuf::from("/usr/sbin/kresd"),
        arguments: arguments.map(ToOwned::to_owned).to_vec(),
        files: vec![("kresd.conf".into(), config)],
        rules: None,
    }
}
