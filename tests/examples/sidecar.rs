//! The pod with its wall: started as the kubelet starts it, as far as plain
//! processes go.

use std::os::unix::fs::chown;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};

use crate::files::{changed, manifest, text, unpack};
use crate::manifests::pod;
use crate::support::lab::{Lab, eventually, in_lab};
use crate::support::run;
use crate::support::wall::binary;
use crate::walls::{API, holds, internet, reaches, socket, write};

const POD: &str = "examples/kubernetes-sidecar/pod.yaml";
const LOCAL: &str = "127.0.0.1:53";

#[test]
fn the_wall_is_a_native_sidecar_that_comes_first() {
    let pod = pod(POD);
    assert_eq!(pod["initContainers"].as_array().unwrap().len(), 1, "nothing comes before the wall");
    let wall = &pod["initContainers"][0];
    assert_eq!(wall["restartPolicy"], "Always");
    assert_eq!(wall["startupProbe"]["exec"]["command"], json!(["cedarwall", "status"]));
    assert_eq!(pod["dnsPolicy"], "None");
    assert_eq!(pod["dnsConfig"]["nameservers"], json!(["127.0.0.1"]));
}

#[test]
fn nothing_of_the_walls_is_the_agents() {
    let pod = pod(POD);
    let (wall, agent) = (&pod["initContainers"][0], &pod["containers"][0]);
    let names = |container: &Value| -> Vec<String> {
        let mounts = container["volumeMounts"].as_array().unwrap();
        mounts.iter().map(|mount| mount["name"].as_str().unwrap().to_owned()).collect()
    };
    assert!(names(agent).iter().all(|volume| !names(wall).contains(volume)), "a volume is shared");
    let user = |container: &Value| container["securityContext"]["runAsUser"].as_u64().unwrap();
    assert_ne!(user(wall), user(agent), "its user is how the rules know the wall's own questions");
    assert_ne!(pod["shareProcessNamespace"], true);
    // The image's user, by number.
    assert!(text("Dockerfile").contains(&user(wall).to_string()));
}

#[test]
fn the_agent_is_started_when_the_wall_stands_and_not_before() {
    in_lab(|lab| {
        internet();
        assert!(reaches(lab, "agent", API), "without a wall the way is open");
        let kubelet = Kubelet::prepare(lab);

        // With a policy that cannot be read there is no wall, and no agent.
        let policy = lab.path("etc/policies/coding-agent.cedar");
        let good = std::fs::read_to_string(&policy).unwrap();
        std::fs::write(&policy, "permit (").unwrap();
        let mut refused = kubelet.start(lab);
        eventually("it gives up", Duration::from_secs(20), || !refused.is_running());
        assert!(!kubelet.probe(), "the probe succeeds without a wall");
        std::fs::write(&policy, good).unwrap();

        // The first success of the probe is when the agent is started.
        let mut wall = kubelet.start(lab);
        eventually("the probe succeeds", Duration::from_secs(60), || kubelet.probe());
        assert!(!reaches(lab, "agent", API), "open when the agent is started");
        holds(lab, "agent", LOCAL);
        assert!(as_agent("true"));
        assert!(!as_agent("nft delete table inet cedarwall"), "the agent takes the wall away");

        // The container ends, and the kubelet starts it again.
        wall.kill();
        assert!(!kubelet.probe());
        assert!(!reaches(lab, "agent", "203.0.113.9:443"), "open without the wall's process");
        let _wall = kubelet.start(lab);
        eventually("the probe succeeds again", Duration::from_secs(60), || kubelet.probe());
        assert!(reaches(lab, "agent", API), "what was open is taken over");
        holds(lab, "agent", LOCAL);
    });
}

/// Why the wall's container says `allowPrivilegeEscalation: true`: a runtime may
/// start a process that is not root without any capability, as `env` is here.
#[test]
fn without_new_privileges_the_walls_file_has_none_to_give_and_the_wall_says_so() {
    in_lab(|lab| {
        let kubelet = Kubelet::prepare(lab);
        assert_eq!(kubelet.wall["securityContext"]["allowPrivilegeEscalation"], true);
        let mut arguments = kubelet.serve();
        arguments.insert(0, "--no-new-privs".to_owned());
        let program = arguments.iter().position(|word| *word == kubelet.program).unwrap();
        arguments.insert(program, "env".to_owned());
        let output = in_the_pod(&arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("CAP_NET_ADMIN is missing"), "{said}");
    });
}

/// What starts the wall's container as its manifest says.
struct Kubelet {
    wall: Value,
    program: String,
    configuration: String,
    socket: String,
}

impl Kubelet {
    fn prepare(lab: &Lab) -> Self {
        let pod = pod(POD);
        let wall = pod["initContainers"][0].clone();
        let volume = lab.path("etc");
        unpack(&manifest(POD, "ConfigMap"), &pod["volumes"], &volume);
        let text = std::fs::read_to_string(volume.join("cedarwall.toml")).unwrap();
        let text = changed(&text, &[("allow_ranges = []\n", "")]);
        let policies = format!("{:?}", volume.join("policies"));
        let changes = [("udp://10.96.0.10:53", "udp://198.51.100.53:53"), ("\"policies\"", policies.as_str())];
        let configuration = write(lab, &text, &changes);
        // An emptyDir, which anybody may write to.
        let user = u32::try_from(wall["securityContext"]["runAsUser"].as_u64().unwrap()).unwrap();
        chown(lab.path("wall"), Some(user), Some(user)).unwrap();
        run("chmod", &["-R", "a+rX", lab.path("").to_str().unwrap()]);

        // As in the image: capabilities come with the executable's file.
        let program = lab.path("cedarwall").to_str().unwrap().to_owned();
        std::fs::copy(binary(), &program).unwrap();
        run("setcap", &["cap_net_admin,cap_net_bind_service+p", &program]);
        let configuration = configuration.to_str().unwrap().to_owned();
        Self { wall, program, configuration, socket: socket(lab).to_str().unwrap().to_owned() }
    }

    /// The container's command, by way of `setpriv`.
    fn serve(&self) -> Vec<String> {
        let words = self.wall["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap());
        let words = words.map(|word| word.replace("/etc/cedarwall/cedarwall.toml", &self.configuration));
        self.as_its_user().into_iter().chain([self.program.clone()]).chain(words).collect()
    }

    fn start(&self, lab: &Lab) -> crate::support::lab::Process {
        let arguments = self.serve();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        lab.start(Some("agent"), std::path::Path::new("setpriv"), &arguments)
    }

    /// Whether the startup probe succeeds.
    fn probe(&self) -> bool {
        let command = self.wall["startupProbe"]["exec"]["command"].as_array().unwrap();
        let words = command.iter().map(|word| word.as_str().unwrap().to_owned());
        let words = words.map(|word| if word == "cedarwall" { self.program.clone() } else { word });
        let there = ["--socket".to_owned(), self.socket.clone()];
        let arguments: Vec<String> = self.as_its_user().into_iter().chain(words).chain(there).collect();
        in_the_pod(&arguments).status.success()
    }

    fn as_its_user(&self) -> Vec<String> {
        let context = &self.wall["securityContext"];
        let added = context["capabilities"]["add"].as_array().unwrap().iter();
        let added: Vec<String> = added.map(|name| format!(",+{}", name.as_str().unwrap().to_lowercase())).collect();
        vec![
            format!("--reuid={}", context["runAsUser"]),
            format!("--regid={}", context["runAsGroup"]),
            "--clear-groups".to_owned(),
            format!("--bounding-set=-all{}", added.concat()),
            "--".to_owned(),
        ]
    }
}

fn in_the_pod(arguments: &[String]) -> Output {
    Command::new("ip").args(["netns", "exec", "agent", "setpriv"]).args(arguments).output().unwrap()
}

/// Whether a command succeeds with the rights of the agent's container.
fn as_agent(command: &str) -> bool {
    let user = &pod(POD)["containers"][0]["securityContext"]["runAsUser"];
    let mut arguments = vec![format!("--reuid={user}"), format!("--regid={user}")];
    arguments.extend(["--clear-groups", "--bounding-set=-all", "--no-new-privs", "--"].map(ToOwned::to_owned));
    arguments.extend(command.split(' ').map(ToOwned::to_owned));
    in_the_pod(&arguments).status.success()
}
