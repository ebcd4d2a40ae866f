//! New connections a second: one side accepts and closes, the other connects,
//! waits for that, and resets: so that nothing queues up where it is accepted,
//! and no port waits for the end of a minute.

use std::io::{self, Read};
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};

/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where connections are accepted.
#[derive(clap::Args)]
pub struct Accept {
    /// Where it listens
    #[arg(long)]
    listen: SocketAddrV4,
}

/// Where connections go.
#[derive(clap::Args, Clone)]
pub struct Arguments {
    /// The other side
    #[arg(long)]
    to: SocketAddrV4,
    /// Threads, each with one connection at a time
    #[arg(long, default_value_t = 8)]
    threads: usize,
    /// How long, in seconds
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
}

/// What came of it.
#[derive(Serialize, Deserialize)]
pub struct Connected {
    /// Connections that came about, a second.
    pub per_second: f64,
    /// Those that did not within a second.
    pub failed: u64,
}

/// Accepts and closes, without end.
pub fn accept(arguments: &Accept) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&arguments.listen.into())?;
    socket.listen(4096)?;
    let listener: TcpListener = socket.into();
    loop {
        drop(listener.accept());
    }
}

/// Connects, and counts.
pub fn connect(arguments: &Arguments) -> io::Result<Connected> {
    let begun = Instant::now();
    let end = begun + Duration::from_secs_f64(arguments.seconds);
    let counted = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..arguments.threads).map(|_| scope.spawn(|| one_after_another(arguments, end))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_default()).collect::<Vec<_>>()
    });
    let connected: u64 = counted.iter().map(|(connected, _)| connected).sum();
    let failed = counted.iter().map(|(_, failed)| failed).sum();
    Ok(Connected { per_second: connected as f64 / begun.elapsed().as_secs_f64(), failed })
}

fn one_after_another(arguments: &Arguments, end: Instant) -> (u64, u64) {
    let (mut connected, mut failed) = (0, 0);
    while Instant::now() < end {
        match one(arguments.to) {
            Ok(()) => connected += 1,
            Err(_) => failed += 1,
        }
    }
    (connected, failed)
}

/// From the first packet until the other side has taken it.
fn one(to: SocketAddrV4) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::V4(to), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let taken = stream.read(&mut [0]);
    Socket::from(stream).set_linger(Some(Duration::ZERO))?;
    taken.map(drop)
}
