//! The yardstick: a bare loop of recvmmsg and sendmmsg on one thread, which
//! sends one prepared answer back to whatever comes, with the id of what came.
//! It reads no question and knows no policy, no cache and no lease: what it
//! costs is what the kernel takes for a datagram in and one of the same octets
//! as a resolver's answer out.

use std::io;
use std::net::SocketAddrV4;

use crate::batch::{Batch, ROOM, socket};
use crate::message;
use crate::names::{Domain, wire};

/// How the echo is set up.
#[derive(clap::Args)]
pub struct Arguments {
    /// Where it listens
    #[arg(long, default_value = "127.0.0.1:5301")]
    listen: SocketAddrV4,
    /// The answer it sends, in hexadecimal digits; by default the upstream
    /// server's for the first name
    #[arg(long)]
    answer: Option<String>,
}

/// Answers, without end.
pub fn serve(arguments: &Arguments) -> io::Result<()> {
    let answer = match &arguments.answer {
        Some(digits) => from_digits(digits).ok_or(io::ErrorKind::InvalidInput)?,
        None => usual(),
    };
    let socket = socket(arguments.listen)?;
    let (mut incoming, mut out) = (Batch::new(64), Batch::new(64));
    // The buffers keep what was written into them: from then on only the id is.
    for _ in 0..out.capacity() {
        out.push(None, |buffer| {
            buffer[..answer.len()].copy_from_slice(&answer);
            0
        });
    }
    out.forget();
    loop {
        for index in 0..incoming.receive(&socket, true)? {
            let id = incoming.datagram(index).get(..2).unwrap_or(&[0, 0]);
            out.push(Some(incoming.peer(index)), |buffer| {
                buffer[..2].copy_from_slice(id);
                answer.len()
            });
        }
        out.send(&socket)?;
    }
}

fn usual() -> Vec<u8> {
    let (mut query, mut answer) = ([0; ROOM], [0; ROOM]);
    let length = message::write_query(&mut query, 0, &wire(Domain::Permitted, 0));
    let length = message::write_answer(&mut answer, &query[..length], 3600).unwrap_or(0);
    answer[..length].to_vec()
}

/// Octets from hexadecimal digits.
fn from_digits(digits: &str) -> Option<Vec<u8>> {
    let of = |place| u8::from_str_radix(digits.get(place..place + 2)?, 16).ok();
    (0..digits.len()).step_by(2).map(of).collect()
}

/// Octets as hexadecimal digits.
pub fn to_digits(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_through_its_digits() {
        assert_eq!(from_digits(&to_digits(&usual())), Some(usual()));
        assert_eq!(from_digits("0"), None);
        assert_eq!(from_digits("0g"), None);
    }
}
