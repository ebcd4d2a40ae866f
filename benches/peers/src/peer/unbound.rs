//! Unbound (Debian: 1.17), as a forwarder that validates nothing.

use std::path::PathBuf;

use super::{Recipe, Setting};
use crate::lab::{SERVER, UPSTREAM};

/// How it is started.
pub fn recipe(setting: &Setting) -> Recipe {
    let config = format!(
        "server:
    interface: {address}
    port: {port}
    access-control: 10.77.0.0/24 allow
    num-threads: {threads}
    so-reuseport: yes
    module-config: \"iterator\"
    username: \"\"
    chroot: \"\"
    directory: \"{folder}\"
    pidfile: \"\"
    do-daemonize: no
    use-syslog: no
    logfile: \"\"
    verbosity: 0
    statistics-interval: 0
    do-ip6: no
    so-rcvbuf: 4m
    so-sndbuf: 4m
    outgoing-range: 8192
    num-queries-per-thread: 4096
    msg-cache-size: 64m
    rrset-cache-size: 128m
    local-zone: \".\" static
    local-zone: \"example.com.\" transparent
    do-not-query-localhost: no
remote-control:
    control-enable: no
forward-zone:
    name: \".\"
    forward-addr: {upstream}
",
        address = SERVER.ip(),
        port = SERVER.port(),
        threads = setting.threads,
        folder = setting.folder.display(),
        upstream = UPSTREAM.ip(),
    );
    Recipe {
        program: PathBuf::from("/usr/sbin/unbound"),
        arguments: vec!["-d".into(), "-c".into(), format!("{}/unbound.conf", setting.folder.display())],
        files: vec![("unbound.conf".into(), config)],
        rules: None,
    }
}
