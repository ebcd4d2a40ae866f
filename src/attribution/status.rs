//! What proc(5) says of a process, read into types.

/// What is needed of `/proc/PID/status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status {
    /// Its parent; 0 where that is outside of what can be seen.
    pub(super) parent: u32,
    /// The effective user.
    pub(super) uid: u32,
    /// How many PID namespaces it is in, below and with that of `/proc`.
    pub(super) depth: usize,
    /// It is the first of the innermost of them.
    pub(super) is_first: bool,
    /// It has ended, and nobody has asked how.
    pub(super) is_dead: bool,
}

impl Status {
    pub(super) fn parse(octets: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(octets);
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(str::split_whitespace)
        };
        // Linux before 4.1, or without PID namespaces, does not tell.
        let numbers: Vec<&str> = field("NSpid").map(Iterator::collect).unwrap_or_default();
        Some(Self {
            parent: field("PPid")?.next()?.parse().ok()?,
            uid: field("Uid")?.nth(1)?.parse().ok()?,
            depth: numbers.len(),
            is_first: numbers.last() == Some(&"1"),
            is_dead: matches!(field("State")?.next()?, "Z" | "X"),
        })
    }
}

/// Field 22 of `/proc/PID/stat`. The second is the name in parentheses, and may
/// hold anything.
pub(super) fn started(octets: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(octets);
    let (_, after_name) = text.rsplit_once(") ")?;
    after_name.split(' ').nth(19)?.parse().ok()
}

/// The control group of `/proc/PID/cgroup`: the unified one (cgroups(7)), or
/// the most telling of those of version 1.
pub(super) fn control_group(text: &str) -> Option<String> {
    let paths = text.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (hierarchy, path) = (fields.next()?, fields.nth(1)?);
        (path != "/" && !path.is_empty()).then_some((hierarchy == "0", container(path).is_some(), path))
    });
    paths.max_by_key(|(is_unified, has_container, _)| (*has_container, *is_unified)).map(|(.., path)| path.to_owned())
}

/// The container's id in the path of a control group, as container engines
/// write it: 64 hexadecimal digits, between a prefix and a suffix of theirs.
pub(super) fn container(path: &str) -> Option<String> {
    let ids = path.rsplit('/').flat_map(|segment| segment.split(|character: char| !character.is_ascii_alphanumeric()));
    let is_id = |word: &&str| word.len() == 64 && word.bytes().all(|octet| octet.is_ascii_hexdigit());
    ids.into_iter().find(is_id).map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_whatever_the_process_calls_itself() {
        let text =
            b"Name:\tPPid: 7\nUmask:\t0022\nState:\tS (sleeping)\nPPid:\t41\nUid:\t0\t1000\t0\t0\nNSpid:\t99\t1\n";
        let expected = Status { parent: 41, uid: 1000, depth: 2, is_first: true, is_dead: false };
        assert_eq!(Status::parse(text), Some(expected));
        let text = b"Name:\tx\nState:\tZ (zombie)\nPPid:\t0\nUid:\t0\t0\t0\t0\n";
        let expected = Status { parent: 0, uid: 0, depth: 0, is_first: false, is_dead: true };
        assert_eq!(Status::parse(text), Some(expected));
        assert_eq!(Status::parse(b"Name:\tx\n"), None);
    }

    #[test]
    fn a_control_group_tells_the_container_of_every_engine() {
        let id = "0123456789abcdef".repeat(4);
        for path in [
            format!("/docker/{id}"),
            format!("/system.slice/docker-{id}.scope"),
            format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"),
            format!("/machine.slice/libpod-{id}.scope/container"),
            format!("/../docker-{id}.scope/init"),
        ] {
            assert_eq!(container(&path).as_deref(), Some(id.as_str()), "{path}");
        }
        assert_eq!(container("/user.slice/user-1000.slice/session-1.scope"), None);

        let first = format!("12:pids:/docker/{id}\n1:name=systemd:/init.scope\n0::/system.slice\n");
        assert_eq!(control_group(&first), Some(format!("/docker/{id}")));
        assert_eq!(control_group("3:cpu:/a\n0::/user.slice\n").as_deref(), Some("/user.slice"));
        assert_eq!(control_group("3:cpu:/\n0::/\n"), None);
    }
}
