//! What looking at the processes of others takes, and that one thread alone
//! keeps it. In Linux capabilities are a thread's own.

use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};

/// To list the open files of others' processes, which are in a folder of
/// theirs, and to see what the files are.
const LOOK: [Capability; 2] = [Capability::CAP_DAC_READ_SEARCH, Capability::CAP_SYS_PTRACE];
/// To enter network namespaces.
const ENTER: Capability = Capability::CAP_SYS_ADMIN;

/// The capabilities needed where the clients are in the daemon's own
/// namespace, or are not.
fn needed(is_sidecar: bool) -> CapsHashSet {
    LOOK.into_iter().chain((!is_sidecar).then_some(ENTER)).collect()
}

/// Those that the calling thread cannot take up, by name.
pub(super) fn lacking(is_sidecar: bool) -> Vec<String> {
    let permitted = caps::read(None, CapSet::Permitted).unwrap_or_default();
    let mut lacking: Vec<String> = needed(is_sidecar).difference(&permitted).map(ToString::to_string).collect();
    lacking.sort_unstable();
    lacking
}

/// Takes them up for the calling thread, and gives up all others.
pub(super) fn keep(is_sidecar: bool) -> Result<(), CapsError> {
    let needed = needed(is_sidecar);
    caps::clear(None, CapSet::Ambient)?;
    caps::clear(None, CapSet::Inheritable)?;
    caps::set(None, CapSet::Effective, &needed)?;
    caps::set(None, CapSet::Permitted, &needed)
}

/// Gives them up for the calling thread and those it starts from now on.
pub(super) fn give_up() -> Result<(), CapsError> {
    for capability in needed(false) {
        // In this order: what is not permitted can be none of the others.
        for set in [CapSet::Effective, CapSet::Inheritable, CapSet::Permitted] {
            if caps::has_cap(None, set, capability)? {
                caps::drop(None, set, capability)?;
            }
        }
    }
    Ok(())
}
