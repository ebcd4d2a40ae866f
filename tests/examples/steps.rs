//! The job's walled steps and its summary, as the workflow has them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::files::{changed, documents};
use crate::support::lab::in_lab;
use crate::support::run;
use crate::support::wall::binary;
use crate::walls::internet;

const WORKFLOW: &str = "examples/github-actions/workflow.yml";

/// What a step executes.
fn script(step: &str) -> String {
    let workflow = documents(WORKFLOW).remove(0);
    let steps = workflow["jobs"]["build"]["steps"].as_array().unwrap();
    let found = steps.iter().find(|found| found["name"] == step).unwrap_or_else(|| panic!("no step {step}"));
    found["run"].as_str().unwrap().to_owned()
}

#[test]
fn the_walled_steps_get_their_half_of_the_policy_and_the_summary_says_what_they_asked_for() {
    in_lab(|lab| {
        internet();
        run("ip", &["route", "add", "default", "via", "198.51.100.10"]);
        let resolver = lab.write("resolv.conf", "nameserver 198.51.100.53\n");
        run("mount", &["--bind", resolver.to_str().unwrap(), "/etc/resolv.conf"]);
        // Not below /run, which the command behind the wall does not see.
        let runner = tempfile::Builder::new().prefix("runner").tempdir_in("/tmp").unwrap();
        let runner = Runner::prepare(runner.path());

        let build = runner.step(&script("Install and test"));
        let said = String::from_utf8_lossy(&build.stdout).into_owned();
        assert!(build.status.success(), "{said}{}", String::from_utf8_lossy(&build.stderr));
        assert!(said.contains("I am 65534"), "the step's commands are a user of their own: {said}");
        assert!(!said.contains("written"), "a file of the runner's: {said}");
        let reached: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("reached ")).collect();
        assert_eq!(reached, ["registry.example.org"; 3], "npm ci, npm test, npm pack: {said}");
        runner.step(&script("Upload"));

        let told = |agent: &str, event: &str| -> Vec<String> {
            let of_kind = runner.events(agent).into_iter().filter(|told| told["event"] == event);
            // The other family has no address that may be told here.
            let names = of_kind.filter(|told| told["reason"] != "no_permitted_address");
            names.map(|told| told["hostname"].as_str().unwrap().to_owned()).collect()
        };
        let (build, publish) = ("ci-build", "ci-publish");
        assert!(told(build, "query.answered").iter().all(|name| name == "registry.example.org"));
        for name in ["telemetry.example.com", "artefacts.example.net"] {
            assert!(told(build, "query.denied").iter().any(|denied| denied == name), "{name}");
        }
        assert!(told(publish, "query.answered").iter().any(|name| name == "artefacts.example.net"));
        assert_eq!(told(publish, "query.denied"), Vec::<String>::new());

        let journals = format!("{}/*.jsonl", runner.path("journals"));
        let summary = changed(&script("Tell what the wall saw"), &[("/var/log/cedarwall/*.jsonl", &journals)]);
        let told = runner.step(&summary);
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        let page = fs::read_to_string(runner.path("summary.md")).unwrap();
        for expected in ["# ", "telemetry.example.com", "ci-build", "ci-publish"] {
            assert!(page.contains(expected), "{expected}:\n{page}");
        }
    });
}

/// A stand-in for the hosted runner: its PATH, and its files.
struct Runner<'a> {
    folder: &'a Path,
}

impl<'a> Runner<'a> {
    fn prepare(folder: &'a Path) -> Self {
        let runner = Self { folder };
        fs::create_dir(folder.join("bin")).unwrap();
        fs::create_dir(folder.join("journals")).unwrap();
        for folder in [folder.to_owned(), folder.join("bin")] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        }
        for file in ["environment", "package-1.0.0.tgz"] {
            fs::write(folder.join(file), "").unwrap();
        }
        symlink(fs::canonicalize("examples/github-actions/walled.sh").unwrap(), folder.join("bin/walled")).unwrap();
        // The documentation's addresses are special ones.
        let range = "if [ \"$1\" = run ]; then shift; set -- run --allow-range 203.0.113.0/24 \"$@\"; fi";
        runner.program("cedarwall", &format!("{range}\nexec {} \"$@\"", binary().display()));
        // The test is root already.
        runner.program("sudo", "exec \"$@\"");
        // A package's script of the kind that the wall is for.
        let npm = format!(
            "echo I am $(id -u)
            for name in registry.example.org telemetry.example.com artefacts.example.net; do
                timeout 5 bash -c \"read -r word < /dev/tcp/$name/443\" && echo reached $name
            done
            echo BASH_ENV=/tmp/x >> {0}/environment && echo environment written
            echo 'permit (principal, action, resource);' >> {1}/x.cedar && echo policy written
            exit 0",
            folder.display(),
            runner.path("policies"),
        );
        run("cp", &["-RL", "examples/github-actions/policies", &runner.path("policies")]);
        runner.program("npm", &npm);
        runner
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.folder.join("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    /// Executes a step as Actions does, with `shell: bash`.
    fn step(&self, script: &str) -> Output {
        let path = format!("{}:{}", self.path("bin"), std::env::var("PATH").unwrap());
        let mut bash = Command::new("bash");
        bash.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", script]).env("PATH", path);
        bash.env("WALLED_USER", "nobody").env("WALLED_JOURNALS", self.path("journals"));
        bash.env("WALLED_POLICY", self.path("policies"));
        bash.env("GITHUB_STEP_SUMMARY", self.path("summary.md"));
        bash.current_dir(self.folder).stdin(Stdio::null()).output().unwrap()
    }

    /// The events of an agent's journals.
    fn events(&self, agent: &str) -> Vec<serde_json::Value> {
        let files = fs::read_dir(self.folder.join("journals")).unwrap().map(|entry| entry.unwrap().path());
        let of_agent = files.filter(|file| file.file_name().unwrap().to_str().unwrap().starts_with(agent));
        let text: String = of_agent.map(|file| fs::read_to_string(file).unwrap()).collect();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}
