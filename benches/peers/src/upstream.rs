//! The upstream server of all that is measured: it answers every name at once
//! with the address that `names` gives it, over UDP in batches, and over TCP.

use std::io::{self, Read, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::thread;

use crate::batch::{Batch, ROOM, socket};
use crate::message;

/// How the server is set up.
#[derive(clap::Args)]
pub struct Arguments {
    /// Where it listens
    #[arg(long, default_value = "127.0.0.1:5300")]
    listen: SocketAddrV4,
    /// Seconds that its answers live
    #[arg(long, default_value_t = 3600)]
    ttl: u32,
}

/// Answers, without end.
pub fn serve(arguments: &Arguments) -> io::Result<()> {
    let ttl = arguments.ttl;
    let listener = TcpListener::bind(arguments.listen)?;
    let socket = socket(arguments.listen)?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || converse(stream, ttl));
        }
    });
    let (mut incoming, mut out) = (Batch::new(256), Batch::new(256));
    loop {
        for index in 0..incoming.receive(&socket, true)? {
            let query = incoming.datagram(index);
            let mut answer = [0; ROOM];
            if let Some(length) = message::write_answer(&mut answer, query, ttl) {
                out.push(Some(incoming.peer(index)), |buffer| {
                    buffer[..length].copy_from_slice(&answer[..length]);
                    length
                });
            }
        }
        out.send(&socket)?;
    }
}

fn converse(mut stream: TcpStream, ttl: u32) -> io::Result<()> {
    let mut answer = [0; ROOM];
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut query)?;
        let length = message::write_answer(&mut answer, &query, ttl).ok_or(io::ErrorKind::InvalidData)?;
        let prefix = u16::try_from(length).unwrap_or(0).to_be_bytes();
        stream.write_all(&[&prefix, &answer[..length]].concat())?;
    }
}
