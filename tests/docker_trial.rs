//! What a new user does, tried for real: from `git clone` to packages that real
//! clients install behind the wall. It compiles the release twice over and asks
//! package registries, so it is no part of `make test`: `make image` runs it.
//!
//! Which hosts the clients need is read from their own configuration; those and
//! no others are permitted. Base images cannot be pulled where this runs, so
//! they are made: Debian's by debootstrap, Rust's from that and the toolchain of
//! this machine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use support::engine::{Contents, Engine, on_an_engines_host};
use support::lab::eventually;
use support::wall::binary;
use support::{cannot, run};

/// The root certificates that this machine trusts.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Installed by the clients: small, and without dependencies.
const NPM_PACKAGE: &str = "left-pad";
const PIP_PACKAGE: &str = "six";

fn on_a_host_that_is_online(test: impl FnOnce(&Engine) + Send + 'static) {
    on_an_engines_host(|engine| match engine.go_online() {
        Ok(()) => test(engine),
        Err(why) => cannot(&format!("reach the package registries: {why}")),
    });
}

/// A folder with this policy.
fn write_policy(engine: &Engine, text: &str) -> PathBuf {
    let folder = engine.path("policies");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("clients.cedar"), text).unwrap();
    folder
}

/// The agent's image: node, npm, python, pip and curl of this machine.
fn import_clients(engine: &Engine) {
    let folder = Path::new("/usr/lib/python3.11/lib-dynload");
    let extensions = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path().to_str().unwrap().to_owned());
    let mut programs: Vec<String> = extensions.collect();
    programs.extend(["/usr/bin/node", "/usr/bin/python3.11", "/usr/bin/curl", "/usr/bin/getent"].map(str::to_owned));
    let programs: Vec<&str> = programs.iter().map(String::as_str).collect();
    let trees = [
        "/usr/bin/npm",
        "/usr/lib/node_modules/npm",
        "/usr/bin/python3",
        "/usr/lib/python3.11",
        "/usr/lib/python3/dist-packages/pip",
        CERTIFICATES,
    ];
    let certificates = [
        format!("ENV SSL_CERT_FILE={CERTIFICATES}"),
        format!("ENV NODE_EXTRA_CA_CERTS={CERTIFICATES}"),
        format!("ENV PIP_CERT={CERTIFICATES}"),
        format!("ENV CURL_CA_BUNDLE={CERTIFICATES}"),
    ];
    let changes: Vec<&str> = certificates.iter().map(String::as_str).collect();
    engine.import("clients", &Contents { programs: &programs, trees: &trees, changes: &changes }, |_| {});
}

/// `host:port` of all that the clients are set up to ask.
fn hosts() -> BTreeSet<String> {
    let pip = "from pip._internal.models.index import PyPI\n\
               print(PyPI.simple_url)\nprint(f'https://{PyPI.file_storage_domain}/')";
    let mut addresses = run("/usr/bin/npm", &["config", "get", "registry"]);
    addresses.push_str(&run("/usr/bin/python3", &["-c", pip]));
    addresses.push_str(&debian());
    let of = |address: &str| {
        let (scheme, rest) = address.split_once("://")?;
        let host = rest.split('/').next()?;
        let port = if scheme == "https" { 443 } else { 80 };
        Some(if host.contains(':') { host.to_owned() } else { format!("{host}:{port}") })
    };
    addresses.lines().filter_map(|line| of(line.trim())).collect()
}

/// Where apt gets its packages.
fn debian() -> String {
    let script = "apt-get indextargets --format '$(REPO_URI)' | grep '^http' | head -n 1";
    run("sh", &["-c", script])
}

fn policy(agent: &str, hosts: &BTreeSet<String>) -> String {
    let mut text = String::new();
    for host in hosts {
        let _ = writeln!(
            text,
            "permit(principal == Agent::\"{agent}\", action == Action::\"net.connect\", resource == Resource::\"{host}\");"
        );
    }
    text
}

/// Addresses of the hosts that answers may not carry unless they are told to:
/// where the registries are mirrors on a private network.
fn special_addresses(hosts: &BTreeSet<String>) -> BTreeSet<IpNet> {
    let names = hosts.iter().filter_map(|host| host.split(':').next());
    let addresses = names.flat_map(|name| {
        let told = run("getent", &["ahostsv4", name]);
        let parsed = |line: &str| line.split_whitespace().next()?.parse().ok();
        told.lines().filter_map(parsed).collect::<Vec<IpAddr>>()
    });
    addresses.filter(|address| cedarwall::core::ranges::special(*address).is_some()).map(IpNet::from).collect()
}

/// What the clients do behind the wall.
fn script() -> String {
    format!(
        "set -e
        cd /tmp
        npm install --no-audit --no-fund {NPM_PACKAGE} > npm.log 2>&1 || {{ cat npm.log; exit 1; }}
        test -f node_modules/{NPM_PACKAGE}/package.json && echo npm: installed
        python3 -m pip install --quiet --no-cache-dir --disable-pip-version-check --target there {PIP_PACKAGE}
        PYTHONPATH=there python3 -c 'import {PIP_PACKAGE}' && echo pip: installed
        curl -sS -m 60 -o Release {}/dists/stable/InRelease && test -s Release && echo curl: fetched
        curl -sS -m 5 https://example.com/ && echo out || echo curl: denied
        for address in 192.0.2.1 198.51.100.10; do
            curl -sS -m 2 http://$address/ > /dev/null && echo out || true
        done",
        debian().trim().trim_end_matches('/')
    )
}

fn assert_installed(said: &str) {
    for line in ["npm: installed", "pip: installed", "curl: fetched", "curl: denied"] {
        assert!(said.lines().any(|told| told == line), "{line} is missing:\n{said}");
    }
    assert!(!said.lines().any(|told| told == "out"), "{said}");
}

#[test]
#[ignore = "asks package registries: make image"]
fn real_clients_install_packages_behind_cedarwall_docker_run() {
    on_a_host_that_is_online(|engine| {
        import_clients(engine);
        let hosts = hosts();
        let policies = write_policy(engine, &policy("claude", &hosts));
        let ranges: Vec<String> =
            special_addresses(&hosts).iter().map(|address| format!("--allow-range={address}")).collect();
        let mut command = Command::new(binary());
        command.args(["docker", "run", "--policy"]).arg(policies).args(&ranges);
        command.args(["--", "clients", "sh", "-c", &script()]);
        engine.furnish(&mut command);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let review = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}\n{review}");
        assert_installed(&said);
        assert!(review.contains("example.com"), "{review}");
    });
}

/// `debian:bookworm-slim` and `rust:1.95-slim-bookworm`.
fn import_bases(engine: &Engine) {
    let bootstrap = |variant: &str, include: &str| -> PathBuf {
        let root = engine.path(variant);
        let include = format!("--include={include}");
        let mut command = Command::new("debootstrap");
        command.args(["--variant=minbase", &include, "bookworm"]).arg(&root).arg(debian().trim());
        let output = command.output().expect("debootstrap (apt install debootstrap)");
        assert!(output.status.success(), "debootstrap: {}", String::from_utf8_lossy(&output.stdout));
        // Or the package manager's own cache would be most of it.
        run(
            "sh",
            &["-c", "rm -rf \"$0\"/var/cache/apt/archives/*.deb \"$0\"/var/lib/apt/lists/*", root.to_str().unwrap()],
        );
        root
    };
    let import = |name: &str, root: &Path, changes: &[&str]| {
        let tar = engine.path("base.tar");
        run("tar", &["--create", "--file", tar.to_str().unwrap(), "--directory", root.to_str().unwrap(), "."]);
        fs::remove_dir_all(root).unwrap();
        engine.import_tar(name, &tar, changes);
    };
    import("debian:bookworm-slim", &bootstrap("debian", "ca-certificates"), &[]);
    let root = bootstrap("rust", "ca-certificates,gcc,libc6-dev");
    fs::copy(CERTIFICATES, root.join(CERTIFICATES.trim_start_matches('/'))).unwrap();
    let toolchain = run("rustc", &["--print", "sysroot"]);
    let toolchain = Path::new(toolchain.trim());
    for part in ["bin/cargo", "bin/rustc", "lib"] {
        let target = root.join("usr/local").join(part);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        let (from, to) = (toolchain.join(part), target.parent().unwrap().to_owned());
        run("cp", &["-a", from.to_str().unwrap(), to.to_str().unwrap()]);
    }
    import("rust:1.95-slim-bookworm", &root, &["ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]);
}

#[test]
#[ignore = "compiles the release and asks package registries: make image"]
fn from_git_clone_to_a_walled_container() {
    on_a_host_that_is_online(|engine| {
        import_bases(engine);
        import_clients(engine);
        let hosts = hosts();
        let policies = write_policy(engine, &policy("coder", &hosts));
        let steps = RefCell::new(Vec::new());
        let step = |command: &str, directory: &Path| {
            let begun = Instant::now();
            eprintln!("$ {command}");
            let mut shell = Command::new("sh");
            shell.args(["-c", command]).current_dir(directory);
            engine.furnish(&mut shell);
            shell.env("AGENT_IMAGE", "clients").env("POLICY", &policies);
            let output = shell.output().unwrap();
            let said =
                format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success(), "{command}: {said}");
            let took = begun.elapsed();
            eprintln!("  {:.1} s", took.as_secs_f64());
            steps.borrow_mut().push((command.to_owned(), took));
            said
        };
        let house = engine.path("house");
        step(&format!("git clone --quiet {} house", env!("CARGO_MANIFEST_DIR")), &engine.path(""));
        step("docker build --tag cedarwall .", &house);
        // Where the registries are on a private network; nowhere else.
        let addresses = special_addresses(&hosts);
        if !addresses.is_empty() {
            let file = house.join("packaging/compose/cedarwall.toml");
            let ranges: Vec<String> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
            let opened = format!("[wall]\nallow_ranges = [{}]", ranges.join(", "));
            let text = fs::read_to_string(&file).unwrap().replace("[wall]", &opened);
            fs::write(&file, text).unwrap();
        }
        step("docker-compose up --detach", &house);
        let said = step(&format!("docker-compose exec -T agent sh -c '{}'", script().replace('\'', "'\\''")), &house);
        assert_installed(&said);
        let size: u64 = engine.docker(&["inspect", "--format", "{{.Size}}", "cedarwall"]).parse().unwrap();
        eprintln!("image: {:.1} MB", size as f64 / 1e6);
        assert!(size < 40_000_000, "the image has {size} octets");
        let health = || engine.docker(&["inspect", "--format", "{{.State.Health.Status}}", "house_wall_1"]);
        eventually("the wall is healthy", Duration::from_secs(30), || health() == "healthy");
        let total: f64 = steps.borrow().iter().map(|(_, took)| took.as_secs_f64()).sum();
        eprintln!("total: {total:.0} s");
        step("docker-compose down --timeout 1", &house);
    });
}
