//! A process as evidence, with those it descends from.

use std::io;

use super::handle::Handle;
use super::status::{Status, container, control_group};
use super::users::Users;
use crate::core::process::{Process, masking};

/// Ancestors told of at most: the nearest.
const ANCESTORS: usize = 16;
/// How often a parent is looked for that keeps changing.
const ATTEMPTS: usize = 3;

/// The process behind `handle`, and its ancestors up to the first of its
/// container: the last one in the network namespace `namespace`, or the first
/// of a PID namespace made from without. Our own, which lead the command of
/// `cedarwall run`, do not belong to it.
///
/// # Errors
/// When it has ended meanwhile.
pub(super) fn describe(handle: Handle, namespace: u64, users: &mut Users) -> io::Result<Process> {
    let mut generations = Vec::new();
    let mut next = Some(handle);
    while let Some(handle) = next.take() {
        let status = handle.status()?;
        if status.is_dead {
            return Err(io::ErrorKind::NotFound.into());
        }
        generations.push(read(&handle, status, users)?);
        if generations.len() <= ANCESTORS {
            next = parent_within(&handle, namespace)?;
        }
    }
    let chain = generations
        .into_iter()
        .rev()
        .reduce(|parent, child| Process { parent_process: Some(Box::new(parent)), ..child });
    chain.ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn read(handle: &Handle, status: Status, users: &mut Users) -> io::Result<Process> {
    let (arguments, is_cut) = handle.command_line()?;
    let groups = handle.control_groups()?;
    let cgroup = control_group(&String::from_utf8_lossy(&groups));
    Ok(Process {
        pid: handle.pid,
        name: masking::plain(&handle.name()?),
        path: handle.program().ok().map(|path| masking::plain(&path)),
        cmd_line: masking::command_line(&arguments, is_cut),
        uid: status.uid,
        user: users.name(status.uid),
        container: cgroup.as_deref().and_then(container),
        cgroup: cgroup.map(|path| masking::plain(path.as_bytes())),
        socket_holders: None,
        parent_process: None,
    })
}

/// The parent, if it belongs to the container.
fn parent_within(child: &Handle, namespace: u64) -> io::Result<Option<Handle>> {
    for _ in 0..ATTEMPTS {
        let before = child.status()?;
        if before.parent == 0 {
            return Ok(None);
        }
        let Ok(parent) = Handle::open(before.parent) else { continue };
        let Ok(status) = parent.status() else { continue };
        // As long as the child calls it its parent, it was that all the time.
        if child.status()?.parent != before.parent {
            continue;
        }
        let is_from_without = before.is_first && status.depth <= 1;
        let is_outside = parent.namespace().ok() != Some(namespace);
        return Ok((!is_from_without && !is_outside && !parent.is_of_ours()).then_some(parent));
    }
    Ok(None)
}
