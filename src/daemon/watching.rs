//! Watching the configuration file and the policy's files.
//!
//! Folders are watched, not files: an editor, a package manager or a mounted
//! ConfigMap puts another file, or another symbolic link, in the place of the
//! one there was. After each change the watches are set up anew, because the
//! folders themselves may have been replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long it has to be quiet before a change is taken for complete.
const QUIET: Duration = Duration::from_millis(250);
/// How long somebody who writes all the time can put that off.
const AT_MOST: Duration = Duration::from_secs(2);
/// Symbolic links that are followed on the way to one file, as many as the
/// kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// The watches, and the sign that something has changed.
pub(super) struct Watch {
    watcher: Option<RecommendedWatcher>,
    folders: Arc<Mutex<Folders>>,
    changed: Arc<Notify>,
}

/// What of each watched folder, under its real path, is of interest.
type Folders = BTreeMap<PathBuf, Interest>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Interest {
    Everything,
    Names(BTreeSet<OsString>),
}

impl Watch {
    pub(super) fn new() -> Self {
        Self { watcher: None, folders: Arc::default(), changed: Arc::default() }
    }

    /// What is notified of each change. It may be one of nothing that counts.
    pub(super) fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }

    /// Watches what leads to `file` and to `policy`, and nothing else; what
    /// changes from here on is not missed. Blocks.
    ///
    /// # Errors
    /// Why a change may go unnoticed, and what to do.
    pub(super) fn set_up(&mut self, file: &Path, policy: &Path) -> Result<(), String> {
        if self.watcher.is_none() {
            self.watcher = Some(self.watcher().map_err(|error| in_words(&error))?);
        }
        let mut folders = Folders::new();
        for path in [file, policy] {
            let path = std::path::absolute(path).map_err(|error| error.to_string())?;
            folders_towards(&path, &mut MAX_LINKS.clone(), &mut folders);
        }
        if let Ok(folder) = fs::canonicalize(policy)
            && folder.is_dir()
        {
            for link in fs::read_dir(&folder).into_iter().flatten().flatten() {
                if link.file_type().is_ok_and(|kind| kind.is_symlink()) {
                    folders_towards(&link.path(), &mut MAX_LINKS.clone(), &mut folders);
                }
            }
            folders.insert(folder, Interest::Everything);
        }
        self.replace(folders)
    }

    /// Watches nothing any more.
    pub(super) fn take_down(&mut self) {
        self.watcher = None;
        self.folders = Arc::default();
    }

    fn watcher(&self) -> notify::Result<RecommendedWatcher> {
        let (folders, changed) = (Arc::clone(&self.folders), Arc::clone(&self.changed));
        notify::recommended_watcher(move |event: notify::Result<Event>| {
            let folders = folders.lock().unwrap_or_else(PoisonError::into_inner);
            if event.map_or(true, |event| is_of_interest(&event, &folders)) {
                changed.notify_one();
            }
        })
    }

    /// Every watch is made anew: a folder that has been removed and is there
    /// again may look like the one it was.
    fn replace(&mut self, folders: Folders) -> Result<(), String> {
        let Some(watcher) = &mut self.watcher else { return Ok(()) };
        let wanted: Vec<_> = folders.keys().cloned().collect();
        let former = {
            let mut known = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *known, folders)
        };
        for folder in former.keys() {
            // It may have ended by itself.
            let _ = watcher.unwatch(folder);
        }
        let mut failed = Ok(());
        for folder in wanted {
            if let Err(error) = watcher.watch(&folder, RecursiveMode::NonRecursive) {
                failed = Err(format!("{}: {}", folder.display(), in_words(&error)));
            }
        }
        failed
    }
}

/// Adds every folder in which a change may lead `path` elsewhere: its own, and
/// that of each symbolic link on the way; where it ends early, the last one
/// there is.
fn folders_towards(path: &Path, links: &mut usize, folders: &mut Folders) {
    let mut walked = PathBuf::new();
    for component in path.components() {
        let Component::Normal(name) = component else {
            walked.push(component);
            continue;
        };
        let folder = walked.clone();
        walked.push(name);
        let found = fs::symlink_metadata(&walked);
        let is_link = found.as_ref().is_ok_and(|found| found.file_type().is_symlink());
        if is_link || found.is_err() || walked == path {
            add(&folder, name.to_owned(), folders);
        }
        if found.is_err() {
            return;
        }
        if is_link
            && *links > 0
            && let Ok(target) = fs::read_link(&walked)
        {
            *links -= 1;
            let folder = fs::canonicalize(&folder).unwrap_or(folder);
            folders_towards(&folder.join(target), links, folders);
        }
    }
}

fn add(folder: &Path, name: OsString, folders: &mut Folders) {
    let Ok(folder) = fs::canonicalize(folder) else { return };
    match folders.entry(folder).or_insert_with(|| Interest::Names(BTreeSet::new())) {
        Interest::Everything => {}
        Interest::Names(names) => _ = names.insert(name),
    }
}

fn is_of_interest(event: &Event, folders: &Folders) -> bool {
    match event.kind {
        // Our own reading is no change.
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => {}
        EventKind::Access(_) => return false,
        _ => {}
    }
    event.need_rescan()
        || event.paths.iter().any(|path| {
            folders.contains_key(path)
                || path.parent().zip(path.file_name()).is_some_and(|(folder, name)| match folders.get(folder) {
                    Some(Interest::Everything) => true,
                    Some(Interest::Names(names)) => names.contains(name),
                    None => false,
                })
        })
}

fn in_words(error: &notify::Error) -> String {
    match &error.kind {
        ErrorKind::MaxFilesWatch => {
            "the limit of inotify watches is reached; raise it: sysctl -w fs.inotify.max_user_watches=65536".to_owned()
        }
        ErrorKind::Io(error) => error.to_string(),
        _ => error.to_string(),
    }
}

/// When a change is taken for complete.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Quiet {
    /// When the first and the last of the changes came.
    seen: Option<(Instant, Instant)>,
}

impl Quiet {
    /// Something changed.
    pub(super) fn disturb(&mut self, now: Instant) {
        let first = self.seen.map_or(now, |(first, _)| first);
        self.seen = Some((first, now));
    }

    /// When it has been quiet for long enough; `None` where nothing changed.
    pub(super) fn until(&self) -> Option<Instant> {
        self.seen.map(|(first, last)| (last + QUIET).min(first + AT_MOST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_complete_when_it_is_quiet_and_nobody_can_put_it_off_for_ever() {
        let start = Instant::now();
        let mut quiet = Quiet::default();
        assert_eq!(quiet.until(), None);
        quiet.disturb(start);
        assert_eq!(quiet.until(), Some(start + QUIET));
        for millis in (100..=1900).step_by(100) {
            quiet.disturb(start + Duration::from_millis(millis));
        }
        assert_eq!(quiet.until(), Some(start + AT_MOST));
    }

    fn names(folders: &Folders, folder: &Path) -> Vec<String> {
        match folders.get(&fs::canonicalize(folder).unwrap()) {
            Some(Interest::Names(names)) => names.iter().map(|name| name.to_string_lossy().into_owned()).collect(),
            Some(Interest::Everything) => vec!["*".to_owned()],
            None => Vec::new(),
        }
    }

    #[test]
    fn every_link_on_the_way_is_watched_where_it_stands() {
        let room = tempfile::tempdir().unwrap();
        let path = |name: &str| room.path().join(name);
        fs::create_dir_all(path("releases/1/policies")).unwrap();
        std::os::unix::fs::symlink("releases/1", path("current")).unwrap();
        let mut folders = Folders::new();
        folders_towards(&path("current/policies"), &mut MAX_LINKS.clone(), &mut folders);
        assert_eq!(names(&folders, room.path()), ["current"]);
        assert_eq!(names(&folders, &path("releases")), ["1"]);
        assert_eq!(names(&folders, &path("releases/1")), ["policies"]);
    }

    #[test]
    fn what_is_not_there_is_watched_where_it_would_appear_and_a_loop_ends() {
        let room = tempfile::tempdir().unwrap();
        let mut folders = Folders::new();
        folders_towards(&room.path().join("none/policies"), &mut MAX_LINKS.clone(), &mut folders);
        assert_eq!(names(&folders, room.path()), ["none"]);
        std::os::unix::fs::symlink("loop", room.path().join("loop")).unwrap();
        folders_towards(&room.path().join("loop/policies"), &mut MAX_LINKS.clone(), &mut folders);
        assert_eq!(names(&folders, room.path()), ["loop", "none"]);
    }
}
