//! What the run and its init say to each other, over a Unix socket in the
//! run's folder, before the command starts.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread::sleep;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Error;
use super::invoker::Identity;

/// What init needs to know, once the wall stands.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Orders {
    /// The link's inner end.
    pub(super) link: String,
    /// Its address.
    pub(super) client: Ipv4Addr,
    /// Its IPv6 address, if it has one.
    pub(super) client6: Option<Ipv6Addr>,
    /// The wall's address: gateway and nameserver.
    pub(super) wall: Ipv4Addr,
    /// The wall's IPv6 address: gateway.
    pub(super) wall6: Option<Ipv6Addr>,
    /// Whom to become.
    pub(super) identity: Identity,
    /// Where the command starts.
    pub(super) directory: PathBuf,
    /// The command and its arguments.
    pub(super) command: Vec<String>,
}

/// How it went.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    /// The command runs.
    Started,
    /// It does not.
    Failed(String),
}

/// The run's side: where init reports.
#[derive(Debug)]
pub(super) struct Door(UnixListener);

impl Door {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let failed = || Error::io(format!("cannot listen on {}", path.display()));
        let listener = UnixListener::bind(path).map_err(failed())?;
        listener.set_nonblocking(true).map_err(failed())?;
        Ok(Self(listener))
    }

    /// Waits for init, as long as its parent `inside` lives.
    pub(super) fn welcome(&self, inside: &mut Child) -> Result<Wire, Error> {
        loop {
            if let Ok((stream, _)) = self.0.accept() {
                stream.set_nonblocking(false).map_err(Error::io("cannot talk to init"))?;
                return Ok(Wire(stream));
            }
            if inside.try_wait().map_err(Error::io("cannot wait for the inside"))?.is_some() {
                return Err(Error::Inside("it ended before the wall stood".to_owned()));
            }
            sleep(Duration::from_millis(2));
        }
    }
}

/// One side's end.
#[derive(Debug)]
pub(super) struct Wire(UnixStream);

impl Wire {
    /// Init's side: connects to the run.
    pub(super) fn connect(path: &Path) -> Result<Self, Error> {
        UnixStream::connect(path).map(Self).map_err(Error::io("the run that started this is gone"))
    }

    /// The other side's process number, seen from our PID namespace.
    pub(super) fn peer(&self) -> Result<i32, Error> {
        let credentials = getsockopt(&self.0, sockopt::PeerCredentials);
        credentials.map(|peer| peer.pid()).map_err(Error::kernel("the number of our init", ""))
    }

    /// Waits until there is something to hear, the other side's end included.
    pub(super) fn has_word(&self, patience: PollTimeout) -> Result<bool, Error> {
        let mut descriptors = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        match poll(&mut descriptors, patience) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::EINTR) => Ok(false),
            Err(cause) => Err(Error::kernel("to wait for the other side", "")(cause)),
        }
    }

    pub(super) fn say(&mut self, message: &impl Serialize) -> Result<(), Error> {
        let failed = || Error::io("the other side is gone");
        let mut line = serde_json::to_string(message).map_err(|error| failed()(error.into()))?;
        line.push('\n');
        self.0.write_all(line.as_bytes()).map_err(failed())
    }

    /// Waits for the other side's next message.
    pub(super) fn hear<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        let failed = || Error::io("the other side ended too early");
        let mut line = String::new();
        if BufReader::new(&self.0).read_line(&mut line).map_err(failed())? == 0 {
            return Err(failed()(ErrorKind::UnexpectedEof.into()));
        }
        serde_json::from_str(&line).map_err(|error| failed()(error.into()))
    }
}
