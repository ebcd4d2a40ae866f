//! The shipped Dockerfile and compose.yaml, with a real Docker engine. What is
//! tried is all of the Dockerfile but the compiler: the base images are of this
//! machine's programs, and `cargo build` takes the program under test. `make
//! image` builds it for real.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use support::engine::{Contents, Engine, with_engine};
use support::lab::{Lab, eventually, greeter, in_lab};
use support::upstream::{Upstream, plain};
use support::wall::binary;
use support::{cannot, run};

/// On a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// The context of the build.
const HOUSE: &str = env!("CARGO_MANIFEST_DIR");
/// The base image.
const DEBIAN: &str = "debian:bookworm-slim";
/// Where every name is.
const ADDRESS: &str = "203.0.113.10";

/// The programs that the build's steps call.
const PROGRAMS: [&str; 26] = [
    "/usr/bin/bash",
    "/usr/bin/cat",
    "/usr/bin/chmod",
    "/usr/bin/chown",
    "/usr/bin/cp",
    "/usr/bin/cut",
    "/usr/bin/dash",
    "/usr/bin/date",
    "/usr/bin/dpkg-query",
    "/usr/bin/grep",
    "/usr/bin/head",
    "/usr/bin/ldd",
    "/usr/bin/mawk",
    "/usr/bin/mkdir",
    "/usr/bin/rm",
    "/usr/bin/sed",
    "/usr/bin/sha256sum",
    "/usr/bin/sort",
    "/usr/bin/tee",
    "/usr/bin/touch",
    "/usr/bin/tr",
    "/usr/sbin/nft",
    "/usr/sbin/setcap",
    "/usr/sbin/getcap",
    "/usr/lib/x86_64-linux-gnu/libgcc_s.so.1",
    "/usr/lib/x86_64-linux-gnu/libm.so.6",
];

const POLICY: &str = r#"
permit(principal == Agent::"coder", action == Action::"net.connect", resource == Resource::"api.example.com:443");
"#;

fn on_a_host(test: impl FnOnce(&Lab, &Engine) + Send + 'static) {
    in_lab(|lab| {
        with_engine(|engine| {
            engine.import_busybox();
            import_bases(engine);
            lab.write("policies/wall.cedar", POLICY);
            let _upstream = Upstream::start(support::lab::UPSTREAM, plain(60, ADDRESS, "2001:db8:2::10"));
            greeter(443);
            test(lab, engine);
        });
    });
}

/// `debian:bookworm-slim` and `rust:1.95-slim-bookworm`, as far as the build
/// needs them.
fn import_bases(engine: &Engine) {
    let mut trees: Vec<String> = ["status", "info/format", "arch"].map(|name| format!("/var/lib/dpkg/{name}")).into();
    for package in ["nftables", "libc6", "libnftables1", "libgcc-s1"] {
        trees.extend(["", ":amd64"].map(|of| format!("/var/lib/dpkg/info/{package}{of}.list")));
        // Of some a link to another package's.
        let folder = format!("/usr/share/doc/{package}");
        let leads_to = fs::canonicalize(&folder).unwrap().to_str().unwrap().to_owned();
        trees.extend([folder, leads_to]);
    }
    trees.dedup();
    trees.retain(|path| fs::exists(path).unwrap());
    let trees: Vec<&str> = trees.iter().map(String::as_str).collect();
    engine.import(DEBIAN, &Contents { programs: &PROGRAMS, trees: &trees, changes: &[] }, |root| {
        let program = |name: &str, script: &str| {
            let path = root.join("usr/bin").join(name);
            let _ = fs::remove_file(&path);
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        program("apt-get", "#!/bin/sh\nexit 0\n");
        program(
            "cargo",
            "#!/bin/sh\nset -eu\ncase $1 in\nbuild) mkdir -p target/release && cp /cedarwall target/release/ ;;\n\
             tree) cat /crates.txt ;;\nesac\n",
        );
        for (name, of) in [("sh", "dash"), ("awk", "mawk")] {
            fs::remove_file(root.join("usr/bin").join(name)).unwrap();
            symlink(of, root.join("usr/bin").join(name)).unwrap();
        }
        fs::copy(binary(), root.join("cedarwall")).unwrap();
        run("strip", &[root.join("cedarwall").to_str().unwrap()]);
        fs::write(root.join("crates.txt"), crates()).unwrap();
    });
    engine.docker(&["tag", DEBIAN, "rust:1.95-slim-bookworm"]);
}

/// What is linked into the program, by cargo itself.
fn crates() -> String {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges", "normal,build", "--prefix", "none", "--format", "{p}|{l}"])
        .current_dir(HOUSE)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Builds the shipped Dockerfile with the legacy builder or with BuildKit.
fn build(engine: &Engine, with_buildkit: bool, arguments: &[&str]) {
    let mut command = engine.command(&["build", "--quiet"]);
    let built = command.args(arguments).arg(HOUSE).env("DOCKER_BUILDKIT", u8::from(with_buildkit).to_string()).output();
    let built = built.unwrap();
    assert!(built.status.success(), "docker build {arguments:?}: {}", String::from_utf8_lossy(&built.stderr));
}

/// What the container prints, whatever comes of it.
fn said(engine: &Engine, arguments: &[&str]) -> String {
    let output = engine.attempt(arguments);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{out}{err}")
}

fn wait_until_healthy(engine: &Engine, container: &str) {
    eventually("the wall is healthy by its own check", PATIENCE, || {
        let health = engine.docker(&["inspect", "--format", "{{.State.Health.Status}}", container]);
        assert_ne!(health, "unhealthy", "{}", said(engine, &["logs", container]));
        health == "healthy"
    });
}

/// What is tried from inside: nothing before DNS, the permitted name, and a
/// denied one.
const TRIES: &str = "
    echo before: $(nc -w 2 203.0.113.10 443 < /dev/null)
    nslookup api.example.com
    echo after: $(nc -w 2 203.0.113.10 443 < /dev/null)
    nslookup telemetry.example.com
    echo elsewhere: $(nc -w 2 203.0.113.66 443 < /dev/null)
";

fn assert_walled(said: &str) {
    assert!(said.contains("after: hello"), "{said}");
    assert!(!said.contains("before: hello") && !said.contains("elsewhere: hello"), "{said}");
    assert!(said.contains("NXDOMAIN"), "{said}");
}

fn gateway_configuration(dns: &str) -> String {
    format!(
        "[dns]\nlisten = [\"10.88.0.1:53\"]\n{dns}\n[wall]\ninterfaces = [\"agents\"]\n\
         allow_ranges = [\"203.0.113.0/24\"]\n[[client]]\naddress = \"10.88.0.2\"\nagent = \"coder\"\n"
    )
}

const UPSTREAM: &str = "upstream = [\"udp://198.51.100.53:53\"]";

/// Runs the image as narrow as its Dockerfile says it can be, with what `run`
/// is told besides.
fn start_the_wall(lab: &Lab, engine: &Engine, configuration: &str, arguments: &[&str]) {
    let configuration = lab.write("cedarwall.toml", configuration);
    let files = format!("{}:/etc/cedarwall/cedarwall.toml:ro", configuration.display());
    let policies = format!("{}:/etc/cedarwall/policies:ro", lab.path("policies").display());
    let narrow =
        ["run", "--detach", "--name=wall", "--cap-drop=ALL", "--cap-add=NET_ADMIN", "--cap-add=NET_BIND_SERVICE"];
    let memory = ["--read-only", "--tmpfs=/run/cedarwall:uid=5353"];
    let mounts = ["--volume", &files, "--volume", &policies];
    engine.docker(&[&narrow[..], &memory, &mounts, arguments, &["cedarwall"]].concat());
    wait_until_healthy(engine, "wall");
}

#[test]
fn either_builder_makes_a_small_image_without_root_and_without_a_shell() {
    on_a_host(|_, engine| {
        for with_buildkit in [false, true] {
            build(engine, with_buildkit, &["--tag", "cedarwall"]);
            assert!(said(engine, &["run", "--rm", "cedarwall", "--version"]).starts_with("cedarwall "));
            assert_eq!(engine.docker(&["inspect", "--format", "{{.Config.User}}", "cedarwall"]), "cedarwall:cedarwall");
            let no_shell = said(engine, &["run", "--rm", "--entrypoint", "/bin/sh", "cedarwall"]);
            assert!(no_shell.contains("no such file"), "{no_shell}");
            let size: u64 = engine.docker(&["inspect", "--format", "{{.Size}}", "cedarwall"]).parse().unwrap();
            engine.docker(&["create", "--name", "files", "cedarwall"]);
            let program = engine.path("program");
            engine.docker(&["cp", "files:/usr/local/bin/cedarwall", program.to_str().unwrap()]);
            let others = size - fs::metadata(&program).unwrap().len();
            assert!(others < 7_000_000, "beside the program there are {others} octets");
            let bill = engine.path("sbom.spdx.json");
            engine.docker(&["cp", "files:/usr/share/doc/cedarwall/sbom.spdx.json", bill.to_str().unwrap()]);
            assert_bill(&fs::read_to_string(bill).unwrap());
            engine.docker(&["rm", "files"]);
        }
        let folder = engine.path("bill");
        let output = format!("--output={}", folder.display());
        build(engine, true, &["--target", "sbom", &output]);
        assert_bill(&fs::read_to_string(folder.join("sbom.spdx.json")).unwrap());
    });
}

/// Every crate that cargo says is linked in, each with its checksum, and the
/// packages that the files come from.
fn assert_bill(text: &str) {
    let bill: Value = serde_json::from_str(text).unwrap();
    assert_eq!(bill["spdxVersion"], "SPDX-2.3");
    let packages = bill["packages"].as_array().unwrap();
    let named = |name: &str, version: &str| {
        packages.iter().find(|package| package["name"] == name && package["versionInfo"] == version)
    };
    let mut crates_named = 0;
    for line in crates().lines() {
        let mut words = line.split([' ', '|']);
        let (name, version) = (words.next().unwrap(), words.next().unwrap().trim_start_matches('v'));
        let package = named(name, version).unwrap_or_else(|| panic!("{name} {version} is missing"));
        let has_checksum = package["checksums"][0]["checksumValue"].as_str().is_some_and(|sum| sum.len() == 64);
        assert!(has_checksum || name == "cedarwall", "{package}");
        crates_named += 1;
    }
    assert!(crates_named > 100, "cargo names {crates_named} crates");
    for name in ["nftables", "libc6", "libgcc-s1"] {
        assert!(packages.iter().any(|package| package["name"] == name), "{name} is missing: {text}");
    }
    let identifiers: Vec<_> = packages.iter().map(|package| package["SPDXID"].as_str().unwrap()).collect();
    let mut distinct = identifiers.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), identifiers.len(), "an identifier stands twice");
}

#[test]
fn the_image_is_a_gateway_as_narrow_as_it_says() {
    on_a_host(|lab, engine| {
        build(engine, false, &["--tag", "cedarwall"]);
        let bridge = "com.docker.network.bridge.name=agents";
        engine.docker(&["network", "create", "--subnet=10.88.0.0/24", "--gateway=10.88.0.1", "-o", bridge, "agents"]);
        start_the_wall(lab, engine, &gateway_configuration(UPSTREAM), &["--network=host"]);
        let agent =
            ["run", "--rm", "--network=agents", "--ip=10.88.0.2", "--dns=10.88.0.1", "busybox", "sh", "-c", TRIES];
        assert_walled(&said(engine, &agent));
        engine.docker(&["rm", "--force", "wall"]);
        let closed = said(engine, &agent);
        assert!(!closed.contains("elsewhere: hello"), "without its daemon nothing opens: {closed}");
        assert!(closed.contains("no servers could be reached"), "nor is there an answer: {closed}");
        let down = ["run", "--rm", "--network=host", "--cap-add=NET_ADMIN", "cedarwall", "down"];
        assert!(said(engine, &down).contains("The wall is down"));
        assert!(!run("nft", &["list", "tables"]).contains("cedarwall"));
    });
}

#[test]
fn the_image_is_a_sidecar_in_the_agents_own_namespace() {
    on_a_host(|lab, engine| {
        build(engine, false, &["--tag", "cedarwall"]);
        let agent =
            ["run", "--detach", "--name=agent", "--dns=127.0.0.1", "--cap-drop=SETUID", "busybox", "sleep", "1000"];
        engine.docker(&agent);
        let configuration = format!(
            "[dns]\n{UPSTREAM}\n[wall]\nmode = \"sidecar\"\ninterfaces = [\"eth0\"]\n\
             allow_ranges = [\"203.0.113.0/24\"]\n\
             [[client]]\naddress = [\"127.0.0.1\", \"::1\"]\nagent = \"coder\"\n"
        );
        start_the_wall(lab, engine, &configuration, &["--network=container:agent"]);
        assert_walled(&said(engine, &["exec", "agent", "sh", "-c", TRIES]));
    });
}

/// The program of Compose that is here.
fn compose() -> Option<Vec<&'static str>> {
    let works = |words: &[&str]| {
        Command::new(words[0]).args(&words[1..]).arg("version").output().is_ok_and(|output| output.status.success())
    };
    [vec!["docker-compose"], vec!["docker", "compose"]].into_iter().find(|words| works(words))
}

#[test]
fn compose_brings_up_a_wall_and_then_an_agent_behind_it() {
    on_a_host(|lab, engine| {
        let Some(program) = compose() else { return cannot("run compose.yaml: apt install docker-compose") };
        build(engine, false, &["--tag", "cedarwall"]);
        let resolver = lab.write("resolv.conf", "nameserver 198.51.100.53\n");
        run("mount", &["--bind", resolver.to_str().unwrap(), "/etc/resolv.conf"]);
        // The laboratory's addresses are special-purpose ones.
        let shipped = fs::read_to_string(format!("{HOUSE}/packaging/compose/cedarwall.toml")).unwrap();
        let opened = shipped.replace("[wall]", "[wall]\nallow_ranges = [\"203.0.113.0/24\"]");
        let configuration = lab.write("cedarwall.toml", &opened);
        let changed = lab.write(
            "change.yaml",
            &format!(
                "services:\n  wall:\n    volumes:\n      - {}:/etc/cedarwall/cedarwall.toml:ro\n",
                configuration.display()
            ),
        );
        let shipped = format!("{HOUSE}/compose.yaml");
        let files = ["--project-name", "trial", "--file", &shipped, "--file", changed.to_str().unwrap()];
        let compose = |arguments: &[&str]| {
            let mut command = Command::new(program[0]);
            command.args(&program[1..]).args(files).args(arguments);
            engine.furnish(&mut command);
            command.env("AGENT_IMAGE", "busybox").env("POLICY", lab.path("policies"));
            let output = command.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "compose {arguments:?}: {said}");
            format!("{}{said}", String::from_utf8_lossy(&output.stdout))
        };
        compose(&["config", "--quiet"]);
        compose(&["up", "--detach"]);
        let started = |name: &str| {
            let id = compose(&["ps", "--quiet", name]);
            let when = engine.docker(&["inspect", "--format", "{{.State.StartedAt}} {{.State.Running}}", id.trim()]);
            assert!(when.ends_with(" true"), "{name}: {when}");
            when
        };
        assert!(started("wall") < started("agent"), "the agent starts behind a wall");
        assert_walled(&compose(&["exec", "-T", "agent", "sh", "-c", TRIES]));
        let denials = compose(&["exec", "-T", "wall", "cedarwall", "denials"]);
        assert!(denials.contains("telemetry.example.com"), "{denials}");
        compose(&["down", "--timeout", "1"]);
    });
}
