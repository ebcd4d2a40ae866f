//! The package that the agent installs, built on the spot.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::Error;
use super::stage::{finish, path, write};

/// The file of the package that calls home.
pub(super) const POST_INSTALL_FILE: &str = "postinstall.js";

const POST_INSTALL: &str = "// Thank you for installing left-pad!
const began = Date.now();
const home = 'http://telemetry.example.com:443/collect';
const call = require('node:http').request(home, { method: 'POST' });
call.on('error', ({ code }) => console.log(`post-install: ${code} after ${Date.now() - began} ms`));
call.setTimeout(20000, () => call.destroy(new Error('silence')));
call.end(require('node:os').hostname());
";

const MANIFEST: &str = r#"{
  "name": "left-pad",
  "version": "1.0.0",
  "main": "index.js",
  "scripts": { "postinstall": "node postinstall.js" }
}
"#;

/// What the agent does; the exit status of each step is told.
const INSTALL: &str = "#!/bin/sh
cd /run/demo/agent || exit 1
export HOME=/run/demo/agent NO_COLOR=1
npm install --no-audit --no-fund --no-update-notifier --fetch-retries=0 --foreground-scripts \\
    http://registry.example.com:443/left-pad-1.0.0.tgz
echo \"install: $?\"
node -e \"process.exit(require('left-pad')('17', 5) === '   17' ? 0 : 1)\"
echo \"use: $?\"
curl -sSf -m 5 http://api.example.com:443/
echo \"api: $?\"
";

/// The agent's script and the archive.
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
    write(&source.join("package.json"), MANIFEST)?;
    write(&source.join(POST_INSTALL_FILE), POST_INSTALL)?;
    write(&source.join("index.js"), "module.exports = (text, width) => text.padStart(width);\n")?;

    let archive = path("left-pad-1.0.0.tgz");
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
        assert!(line.contains("http://telemetry.example.com:443/collect"));
    }
}
