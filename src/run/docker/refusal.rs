//! Why an argument of `docker run` is refused.

use thiserror::Error;

/// An argument that would take the container out of the wall, or that cannot
/// be told from one that would.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// An option that is not in our table.
    #[error(
        "`{0}` is no option of `docker run` that Cedarwall knows, so it cannot tell whether it would break the wall"
    )]
    Unknown(String),
    /// An option without its value.
    #[error("`{0}` needs a value")]
    NoValue(String),
    /// A value that is no yes or no.
    #[error("`{option}={value}` is neither true nor false")]
    NeitherTrueNorFalse {
        /// The option.
        option: String,
        /// What it was given.
        value: String,
    },
    /// No image.
    #[error("name the image after the options: `cedarwall docker run -- -it IMAGE COMMAND`")]
    NoImage,
    /// What would break the wall.
    #[error("`{argument}`: {reason}")]
    Breaks {
        /// As it was written.
        argument: String,
        /// Why not.
        reason: Reason,
    },
}

/// What an argument would do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Reason {
    /// `--network` and its like.
    #[error("the wall makes the container's network and chooses its address")]
    Network,
    /// `--dns` and its like.
    #[error("names are resolved by the wall alone")]
    Resolver,
    /// `-p`, `-P`.
    #[error("flows that begin outside do not pass the wall, so no port can be published; use `docker exec`")]
    Published,
    /// `--privileged`.
    #[error("a privileged container can change the host's network, and the wall with it")]
    Privileged,
    /// A capability that reaches beyond the container.
    #[error(
        "this capability reaches beyond the container, or is not known; those of Docker's default list are there anyway"
    )]
    Capability,
    /// `--security-opt`.
    #[error("it takes away what keeps the container inside; only no-new-privileges can be given")]
    Security,
    /// `--pid host` and its like.
    #[error("it shares a namespace with processes that are not behind the wall")]
    Namespace,
    /// `--device` and its like.
    #[error("a device of the host can be a network, a disk or the kernel's memory; for graphics cards there is --gpus")]
    Device,
    /// A bind mount of what the host runs by.
    #[error("{0} is the host's own, and whoever is in there is not behind the wall")]
    HostsOwn(String),
    /// The same, writable.
    #[error("what is written to {0} the host executes or obeys; add `:ro`, or mount a folder of your own")]
    HostObeys(String),
    /// A bind mount that leads to a socket.
    #[error("{0} is a socket on which a program of the host listens, which is not behind the wall")]
    Socket(String),
    /// A bind mount that cannot be looked at.
    #[error("{path} cannot be looked at: {cause}")]
    Unseen {
        /// What.
        path: String,
        /// Why.
        cause: String,
    },
    /// Volumes that are anything but a folder of the engine's.
    #[error("such a volume can be any part of the host, or of the network; mount a folder, or a plain volume")]
    Volume,
    /// A mount that cannot be read.
    #[error("Cedarwall cannot read it; write type=bind,source=/FOLDER,target=/FOLDER")]
    Mount,
    /// Where the output goes.
    #[error("the engine would carry the container's output past the wall; json-file, local, journald and none do not")]
    LogDriver,
    /// `--restart`.
    #[error("the wall ends with the container, and would not be there when it starts again")]
    Restart,
    /// Options that are ours.
    #[error("Cedarwall sets it itself")]
    Ours,
}
