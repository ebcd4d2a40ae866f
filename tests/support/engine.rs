//! A Docker engine of the test's own: the real dockerd, on the test's own host.
//!
//! ```no_run
//! in_lab(|lab| {
//!     with_engine(|engine| {
//!         engine.import_busybox();                               // the image `busybox`
//!         let said = engine.docker(&["run", "--rm", "busybox", "id"]);
//!     });
//! });
//! ```
//!
//! It lives in the namespaces of the thread that starts it, which are not the
//! machine's: `in_lab` or `on_a_host` has made them. So its bridges, its
//! iptables rules and its routes are in the network namespace that stands for
//! the host, and its socket is the usual `/run/docker.sock` in a `/run` that
//! only the test sees. Whatever else the test starts sees the same, as
//! `cedarwall serve` would on a host with Docker.
//!
//! Process ids are the machine's own. Images and containers are in a temporary
//! folder, control groups below one with a name of its own. All of it is
//! taken away by a process that waits until this one has gone, however it went:
//! it ends what is in the control group, and nothing else.
//!
//! No image can be pulled. [`Engine::import_busybox`] takes milliseconds;
//! [`Engine::import`] makes one of this machine's own programs and what they
//! need. [`Engine::go_online`] gives the host a way out to the real world over
//! slirp4netns, which needs no rule and no route outside.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::lab::eventually;
use super::{cannot, run};

/// Debian's; another one on the PATH may be of another time.
const CLIENT: &str = "/usr/bin/docker";
/// Where programs and the engine find the socket without being told.
pub const SOCKET: &str = "/run/docker.sock";
/// How long the engine may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// The name server of slirp4netns, which asks the machine's own.
const ONLINE_RESOLVER: &str = "10.0.2.3";

/// Ends what is in the control group, and takes folder and control groups away.
/// `$1` is the control group's name, `$2` the folder.
const REAPER: &str = r#"
    trap '' INT TERM HUP
    cat > /dev/null
    groups() { find /sys/fs/cgroup -maxdepth 3 -type d -name "$1" 2> /dev/null; }
    members() { for group in $(groups "$1"); do find "$group" -name cgroup.procs -exec cat {} + 2> /dev/null; done | sort -u; }
    round=0
    while members=$(members "$1"); [ -n "$members" ] && [ $round -lt 500 ]; do
        kill -KILL $members 2> /dev/null
        round=$((round + 1))
        sleep 0.02
    done
    grep -F " $2/" /proc/self/mountinfo | cut -d ' ' -f 5 | sort -r | while read -r place; do umount -l "$place"; done
    rm -rf "$2"
    for group in $(groups "$1"); do find "$group" -depth -type d -exec rmdir {} \; ; done
"#;

/// What an image is made of, beside busybox.
#[derive(Default)]
pub struct Contents<'a> {
    /// Programs and libraries of this machine, absolute paths; what they are
    /// linked with comes along.
    pub programs: &'a [&'a str],
    /// Folders, files and links, absolute paths, as they are.
    pub trees: &'a [&'a str],
    /// Lines of a Dockerfile: `ENV A=b`.
    pub changes: &'a [&'a str],
}

/// A running engine; dropped, it is gone with all its containers.
pub struct Engine {
    folder: PathBuf,
    group: String,
    reaper: Child,
    daemon: Mutex<Child>,
    slirp: Mutex<Option<Child>>,
}

/// Starts an engine in the calling thread's namespaces, and gives it to `test`.
pub fn with_engine(test: impl FnOnce(&Engine)) {
    for program in ["dockerd", "containerd", "runc", "iptables", CLIENT] {
        if !is_there(program) {
            return cannot(&format!("start Docker's engine: `{program}` is missing (apt install docker.io iptables)"));
        }
    }
    test(&Engine::start());
}

fn is_there(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", "command -v \"$0\" > /dev/null", program]).status();
    found.is_ok_and(|status| status.success())
}

impl Engine {
    fn start() -> Self {
        assert!(!is_the_machines_own("net"), "an engine changes rules and routes: start it in a namespace of the test");
        assert!(!is_the_machines_own("mnt"), "an engine mounts: start it in a mount namespace of the test");
        let begun = Instant::now();
        let folder = tempfile::Builder::new().prefix("cedarwall-engine-").tempdir().expect("a folder").keep();
        let group = folder.file_name().expect("a name").to_string_lossy().into_owned();
        let reaper = Command::new("setsid")
            .args(["sh", "-c", REAPER, "reaper", &group])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("a reaper");
        fs::write(folder.join("daemon.json"), "{}").expect("a configuration");
        let daemon = spawn_daemon(&folder, &group);
        let engine = Self { folder, group, reaper, daemon: Mutex::new(daemon), slirp: Mutex::new(None) };
        engine.wait();
        eprintln!("engine: up after {:.1} s", begun.elapsed().as_secs_f64());
        engine
    }

    fn wait(&self) {
        eventually("the engine answers", PATIENCE, || {
            let ended = self.daemon.lock().expect("no panic").try_wait().expect("to look");
            assert!(ended.is_none(), "dockerd ended: {}", self.log());
            let arguments = ["version", "--format", "{{.Server.Version}}"];
            self.command(&arguments).output().expect("the client").status.success()
        });
    }

    /// What dockerd has said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("dockerd.log")).unwrap_or_default()
    }

    /// Ends dockerd and its containerd as `kill -9` does; containers run on, as
    /// nobody has told them.
    pub fn kill(&self) {
        let mut daemon = self.daemon.lock().expect("no panic");
        let own = run("pgrep", &["-P", &daemon.id().to_string(), "-x", "containerd"]);
        daemon.kill().expect("to end dockerd");
        daemon.wait().expect("its end");
        for pid in own.split_whitespace() {
            run("kill", &["-KILL", pid]);
            eventually("containerd has ended", PATIENCE, || !Path::new("/proc").join(pid).exists());
        }
        // What is left of a killed one keeps the next from starting.
        for left in ["docker.pid", "docker/containerd/containerd.pid"] {
            let _ = fs::remove_file(Path::new("/run").join(left));
        }
    }

    /// Starts dockerd again after [`Self::kill`].
    pub fn restart(&self) {
        *self.daemon.lock().expect("no panic") = spawn_daemon(&self.folder, &self.group);
        self.wait();
    }

    /// A command of the client's, with this engine.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(CLIENT);
        command.args(arguments).stdin(Stdio::null());
        self.furnish(&mut command);
        command
    }

    /// Has `command` find this engine, Debian's client, and nobody's settings.
    pub fn furnish(&self, command: &mut Command) {
        for variable in ["DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_BUILDKIT"] {
            command.env_remove(variable);
        }
        command.env("DOCKER_CONFIG", self.folder.join("client"));
        command.env("PATH", "/usr/bin:/usr/sbin:/bin:/sbin:/usr/local/bin");
    }

    /// Runs `docker …` to its end and returns what it printed.
    pub fn docker(&self, arguments: &[&str]) -> String {
        let output = self.attempt(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker {arguments:?} failed: {said}");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// The same, whatever comes of it.
    pub fn attempt(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the client")
    }

    /// A file of the test's own, on a disk: not below `/run`, which is memory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The image `busybox`: a shell and many programs in one file. Of those only
    /// `nslookup` can resolve a name: the file is linked statically, and the C
    /// library's resolver is not.
    pub fn import_busybox(&self) {
        self.import("busybox", &Contents::default(), |_| {});
    }

    /// An image of this machine's own programs. `prepare` may change the root
    /// file system before it is packed.
    pub fn import(&self, name: &str, contents: &Contents<'_>, prepare: impl FnOnce(&Path)) {
        let root = self.path("root");
        furnish_root(&root);
        let mut files: Vec<String> = contents.programs.iter().copied().flat_map(with_libraries).collect();
        // The C library loads it by name.
        files.extend(["usr/lib/x86_64-linux-gnu/libnss_files.so.2".to_owned()]);
        files.retain(|file| Path::new("/").join(file).exists());
        files.sort_unstable();
        files.dedup();
        let others: Vec<&str> = contents.trees.iter().map(|tree| tree.trim_start_matches('/')).collect();
        add_busybox(&root, |file| files.iter().any(|other| other == file) || others.contains(&file));
        prepare(&root);
        let tar = self.path("image.tar");
        pack(&tar, &root, "-c", &["."], false);
        fs::remove_dir_all(&root).expect("to remove it");
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        for (names, follow_links) in [(files, true), (others, false)] {
            if !names.is_empty() {
                pack(&tar, Path::new("/"), "-r", &names, follow_links);
            }
        }
        self.import_tar(name, &tar, contents.changes);
    }

    /// An image of a tar file, which is removed.
    pub fn import_tar(&self, name: &str, tar: &Path, changes: &[&str]) {
        let begun = Instant::now();
        let size = fs::metadata(tar).expect("the tar file").size();
        let mut command = self.command(&["import"]);
        for change in changes {
            command.args(["--change", change]);
        }
        let imported = command.arg(tar).arg(name).output().expect("the client");
        assert!(imported.status.success(), "docker import: {}", String::from_utf8_lossy(&imported.stderr));
        fs::remove_file(tar).expect("to remove it");
        let (megabytes, seconds) = (size / 1_000_000, begun.elapsed().as_secs_f64());
        eprintln!("engine: image {name}, {megabytes} MB, imported in {seconds:.1} s");
    }

    /// Gives the host a way out to the real world, and its resolver. Says in
    /// words what it lacks for that.
    pub fn go_online(&self) -> Result<(), String> {
        if !is_there("slirp4netns") {
            return Err("slirp4netns is missing (apt install slirp4netns)".to_owned());
        }
        let outside = format!("--net=/proc/{}/ns/net", std::process::id());
        let inside = format!("/proc/{}/task/{}/ns/net", std::process::id(), nix::unistd::gettid());
        let slirp = self
            .in_group("exec nsenter \"$@\"")
            .args([&outside, "slirp4netns", "--configure", "--mtu=65520", "--disable-host-loopback"])
            .args(["--netns-type=path", &inside, "tap0"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        *self.slirp.lock().expect("no panic") = Some(slirp.map_err(|error| error.to_string())?);
        eventually("the way out", PATIENCE, || run("ip", &["-4", "route", "show", "default"]).contains("tap0"));
        let resolver = self.path("resolv.conf");
        fs::write(&resolver, format!("nameserver {ONLINE_RESOLVER}\n")).map_err(|error| error.to_string())?;
        run("mount", &["--bind", resolver.to_str().expect("plain text"), "/etc/resolv.conf"]);
        Ok(())
    }

    /// A shell in the engine's control group.
    fn in_group(&self, script: &str) -> Command {
        in_group(&self.group, script)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(self.reaper.stdin.take());
        let _ = self.reaper.wait();
        for child in [self.daemon.get_mut().ok(), self.slirp.get_mut().ok().and_then(Option::as_mut)] {
            let _ = child.map(Child::wait);
        }
    }
}

fn is_the_machines_own(namespace: &str) -> bool {
    let own = fs::read_link(format!("/proc/thread-self/ns/{namespace}")).expect("our namespace");
    let machines = fs::read_link(format!("/proc/{}/ns/{namespace}", std::process::id())).expect("the machine's");
    own == machines
}

fn spawn_daemon(folder: &Path, group: &str) -> Child {
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("dockerd.log")).expect("a log");
    let mut command = in_group(group, "exec dockerd \"$@\"");
    command.arg("--config-file").arg(folder.join("daemon.json")).arg("--data-root").arg(folder.join("data"));
    command.args(["--host", &format!("unix://{SOCKET}"), "--exec-root", "/run/docker", "--pidfile", "/run/docker.pid"]);
    command.args(["--cgroup-parent", &format!("/{group}/containers")]);
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env_remove("DOCKER_HOST");
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle")).stderr(log);
    command.spawn().expect("dockerd starts")
}

/// A shell that puts itself into the control group of that name, whichever
/// hierarchy there is, before it does `script`.
fn in_group(group: &str, script: &str) -> Command {
    let enter = "
        for root in /sys/fs/cgroup/unified /sys/fs/cgroup/pids /sys/fs/cgroup/systemd /sys/fs/cgroup; do
            if [ -w $root/cgroup.procs ] && mkdir -p $root/$0/engine && echo $$ > $root/$0/engine/cgroup.procs; then
                entered=yes
                break
            fi
        done
        [ -n \"${entered:-}\" ] || { echo 'no control group can be made' >&2; exit 1; }
    ";
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{enter}{script}"), group]);
    command
}

/// What every root file system has.
fn furnish_root(root: &Path) {
    for folder in ["usr/bin", "usr/sbin", "usr/lib", "usr/lib64"] {
        fs::create_dir_all(root.join(folder)).expect("a folder");
        symlink(folder, root.join(folder.trim_start_matches("usr/"))).expect("a link");
    }
    for folder in ["etc", "tmp", "root", "proc", "sys", "dev", "run", "var/tmp", "home/user"] {
        fs::create_dir_all(root.join(folder)).expect("a folder");
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).expect("to change it");
    chown(root.join("home/user"), Some(1000), Some(1000)).expect("to change it");
    let files = [
        ("passwd", "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n"),
        ("group", "root:x:0:\nuser:x:1000:\n"),
        ("nsswitch.conf", "hosts: files dns\n"),
    ];
    for (name, text) in files {
        fs::write(root.join("etc").join(name), text).expect("a file");
    }
}

/// Puts busybox into `root`, under the name of each of its programs that
/// nothing else `has`.
fn add_busybox(root: &Path, has: impl Fn(&str) -> bool) {
    let Some(busybox) = ["/usr/bin/busybox", "/bin/busybox"].into_iter().find(|path| Path::new(path).exists()) else {
        panic!("busybox is missing (apt install busybox-static)");
    };
    fs::copy(busybox, root.join("usr/bin/busybox")).expect("busybox");
    for program in run(busybox, &["--list"]).lines().filter(|name| *name != "busybox") {
        if !["bin", "sbin"].into_iter().any(|folder| has(&format!("usr/{folder}/{program}"))) {
            symlink("busybox", root.join("usr/bin").join(program)).expect("a link");
        }
    }
}

/// A file of this machine and all it is linked with.
fn with_libraries(program: &str) -> Vec<String> {
    let linked = Command::new("ldd").arg(program).output().expect("ldd starts");
    let linked = String::from_utf8_lossy(&linked.stdout).into_owned();
    let libraries = linked.split_whitespace().filter(|word| word.starts_with('/'));
    std::iter::once(program).chain(libraries).map(below_usr).collect()
}

/// A path of this machine as it is in an image whose `/bin` and `/lib` lead to
/// `/usr`.
fn below_usr(path: &str) -> String {
    let short = path.trim_start_matches('/');
    if short.starts_with("usr/") { short.to_owned() } else { format!("usr/{short}") }
}

fn pack(tar: &Path, folder: &Path, how: &str, names: &[&str], follow_links: bool) {
    let mut command = Command::new("tar");
    command.arg(how).arg("--force-local").arg("-f").arg(tar).arg("-C").arg(folder);
    if follow_links {
        command.arg("-h");
    }
    let packed = command.args(names).output().expect("tar starts");
    assert!(packed.status.success(), "tar: {}", String::from_utf8_lossy(&packed.stderr));
}
