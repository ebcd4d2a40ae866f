//! The command's view of the file system: the host's own, without the ways
//! around the wall.

use std::env;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use nix::mount::{MsFlags, mount};

use super::Error;
use super::resolver::{RESOLV_CONF, our_resolv_conf};

/// How many symbolic links a path may have (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Furnishes our own mount namespace and goes to `directory` in it.
pub(super) fn furnish(wall: Ipv4Addr, directory: &Path) -> Result<(), Error> {
    // Nothing mounted here may reach the host.
    let none = None::<&str>;
    mounted("/", mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none))?;

    let resolv_conf = final_target(Path::new(RESOLV_CONF));

    // The sockets of nscd, systemd-resolved, D-Bus, Docker and containerd live
    // below /run, and so do the wall's own: each lets a process out here do
    // what the command may not.
    cover("/run")?;
    let var_run = Path::new("/var/run");
    if var_run.is_dir() && !var_run.is_symlink() {
        cover("/var/run")?;
    }

    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mounted("/proc", mount(Some("proc"), "/proc", Some("proc"), quiet, none))?;
    // Root without any capability may still write these: they go by uid.
    for path in ["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus"] {
        if Path::new(path).exists() {
            read_only(Path::new(path), Path::new(path))?;
        }
    }
    mounted("/sys", mount(Some("sysfs"), "/sys", Some("sysfs"), quiet | MsFlags::MS_RDONLY, none))?;

    install_resolv_conf(&resolv_conf, wall)?;

    // By name, not by the inherited handle: that may lie below what is covered.
    env::set_current_dir(directory)
        .map_err(Error::io(format!("cannot start in {} (/run is hidden from the command)", directory.display())))
}

pub(super) fn cover(path: &str) -> Result<(), Error> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mounted(path, mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some("mode=0755")))
}

fn read_only(source: &Path, target: &Path) -> Result<(), Error> {
    let none = None::<&str>;
    let again = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mounted(target, mount(Some(source), target, none, MsFlags::MS_BIND, none))?;
    mounted(target, mount(none, target, none, again, none))
}

fn mounted(path: impl AsRef<Path>, outcome: nix::Result<()>) -> Result<(), Error> {
    outcome.map_err(|cause| Error::Io {
        what: format!("cannot mount on {}", path.as_ref().display()),
        cause: cause.into(),
    })
}

/// Puts our `resolv.conf` where `/etc/resolv.conf` leads.
fn install_resolv_conf(target: &Path, wall: Ipv4Addr) -> Result<(), Error> {
    let failed = |path: &Path| Error::io(format!("cannot write {}", path.display()));
    let write = |path: &Path| {
        let parent = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent).and_then(|()| fs::write(path, our_resolv_conf(wall))).map_err(failed(path))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).map_err(failed(path))
    };
    if target.starts_with("/run") {
        return write(target);
    }
    if !target.exists() {
        return Err(Error::Inside(format!("{} does not exist; `touch` it", target.display())));
    }
    let source = Path::new("/run/cedarwall-resolv.conf");
    write(source)?;
    read_only(source, target)
}

/// Where `path` leads when every symbolic link is followed, whether or not
/// there is anything.
fn final_target(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(link) = fs::read_link(&path) else { break };
        path = normal(&path.parent().unwrap_or(Path::new("/")).join(link));
    }
    // /var/run is a link to /run almost everywhere.
    let parent = path.parent().and_then(|parent| parent.canonicalize().ok());
    match (parent, path.file_name()) {
        (Some(parent), Some(name)) => parent.join(name),
        _ => path,
    }
}

fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(normal.pop()),
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_of_links_is_followed_to_a_file_that_need_not_exist() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::os::unix::fs::symlink("middle", root.join("first")).unwrap();
        std::os::unix::fs::symlink("../elsewhere/./stub.conf", root.join("middle")).unwrap();
        let expected = root.parent().unwrap().join("elsewhere/stub.conf");
        assert_eq!(final_target(&root.join("first")), expected);
    }

    #[test]
    fn a_link_to_itself_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("loop");
        std::os::unix::fs::symlink("loop", &path).unwrap();
        assert!(final_target(&path).ends_with("loop"));
    }
}
