//! Which paths of the host a container behind the wall may see: not those
//! that lead to a program that is not behind it, and not those by which the
//! host itself is run.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::refusal::{Reason, Refusal};
use super::request::Bind;

/// Where the host's kernel, its programs and other containers are reached, even
/// through a mount that cannot be written to: sockets, processes, devices.
const OUT_OF_SIGHT: [&str; 6] = ["/dev", "/proc", "/run", "/sys", "/var/lib/containerd", "/var/lib/docker"];

/// Where the host's programs and their settings are.
const NOT_WRITABLE: [&str; 10] =
    ["/bin", "/boot", "/etc", "/lib", "/lib32", "/lib64", "/sbin", "/usr", "/var/lib/systemd", "/var/spool"];

/// Looks at every path.
///
/// # Errors
/// The first that may not be seen, and why.
pub(super) fn judge(binds: &[Bind]) -> Result<(), Refusal> {
    if binds.is_empty() {
        return Ok(());
    }
    let sockets = sockets();
    for bind in binds {
        let refused = |reason| Refusal::Breaks { argument: bind.argument.clone(), reason };
        let source = resolved(&bind.source).map_err(|error| {
            let path = bind.source.display().to_string();
            refused(Reason::Unseen { path, cause: error.to_string() })
        })?;
        if let Some(reason) = reason_against(&source, bind.is_writable, &sockets) {
            return Err(refused(reason));
        }
    }
    Ok(())
}

/// Why a path without symbolic links in it may not be seen. Pure.
fn reason_against(source: &Path, is_writable: bool, sockets: &[PathBuf]) -> Option<Reason> {
    let meets = |own: &&&str| source.starts_with(own) || Path::new(own).starts_with(source);
    if let Some(own) = OUT_OF_SIGHT.iter().find(meets) {
        return Some(Reason::HostsOwn((*own).to_owned()));
    }
    if let Some(socket) = sockets.iter().find(|socket| socket.starts_with(source)) {
        return Some(Reason::Socket(socket.display().to_string()));
    }
    if is_writable && let Some(own) = NOT_WRITABLE.iter().find(meets) {
        return Some(Reason::HostObeys((*own).to_owned()));
    }
    None
}

/// A path without symbolic links. The engine makes folders that are not there,
/// so the last parts may be missing.
fn resolved(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A link that leads nowhere yet could lead anywhere later.
            let is_missing = fs::symlink_metadata(path).is_err();
            match (path.parent(), path.file_name()) {
                (Some(parent), Some(name)) if is_missing => {
                    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
                    Ok(resolved(parent)?.join(name))
                }
                _ => Err(error),
            }
        }
        outcome => outcome,
    }
}

/// The sockets with a name in the file system that somebody in our network
/// namespace has open (unix(7), proc_net(5)).
fn sockets() -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/net/unix").unwrap_or_default();
    let names = table.lines().filter_map(|line| line.split_once(" /").map(|(_, name)| format!("/{name}")));
    let is_socket = |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    let paths = names.map(PathBuf::from).filter(is_socket);
    paths.filter_map(|path| fs::canonicalize(path).ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn bind(source: &Path) -> Bind {
        Bind { argument: format!("-v {}", source.display()), source: source.to_owned(), is_writable: true }
    }

    fn reason(source: &str, is_writable: bool) -> Option<Reason> {
        reason_against(Path::new(source), is_writable, &["/home/one/.ssh/agent".into()])
    }

    #[test]
    fn what_leads_to_programs_of_the_host_is_out_of_sight() {
        for source in ["/", "/run", "/run/docker.sock", "/proc", "/proc/1/root", "/sys", "/dev/sda", "/var/lib/docker"]
        {
            assert!(matches!(reason(source, false), Some(Reason::HostsOwn(_))), "{source}");
        }
        for source in ["/home", "/home/one/.ssh", "/home/one/.ssh/agent"] {
            assert!(matches!(reason(source, false), Some(Reason::Socket(_))), "{source}");
        }
        for source in ["/home/one/project", "/runner", "/devices", "/srv", "/home/one/.ssh/agents"] {
            assert_eq!(reason(source, true), None, "{source}");
        }
    }

    #[test]
    fn what_the_host_obeys_can_be_read_and_not_written() {
        for source in ["/etc", "/etc/ssl/certs/ca-certificates.crt", "/usr/share", "/var/spool/cron", "/boot"] {
            assert!(matches!(reason(source, true), Some(Reason::HostObeys(_))), "{source}");
        }
        assert_eq!(reason("/etc/ssl/certs", false), None);
    }

    #[test]
    fn a_link_is_followed_and_one_that_leads_nowhere_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("innocent");
        std::os::unix::fs::symlink("/proc/self/fd", &link).unwrap();
        assert!(judge(&[bind(&link)]).is_err());
        assert!(judge(&[bind(&folder.path().join("new/folder"))]).is_ok());
        let nowhere = folder.path().join("nowhere");
        std::os::unix::fs::symlink("/nonexistent", &nowhere).unwrap();
        assert!(judge(&[bind(&nowhere)]).is_err());
    }

    #[test]
    fn a_socket_that_somebody_listens_on_is_found_wherever_it_is() {
        let folder = tempfile::tempdir().unwrap();
        assert!(judge(&[bind(folder.path())]).is_ok());
        let path = folder.path().join("deep.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let refused = judge(&[bind(folder.path())]).unwrap_err().to_string();
        assert!(refused.contains("deep.sock"), "{refused}");
        drop(listener);
    }
}
