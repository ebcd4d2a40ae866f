//! Exchanges over TCP: one connection per query (RFC 7766 section 5 makes it
//! the fallback for what a datagram cannot hold).

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::message::{Judged, Transaction};
use crate::core::decision::Failure;

/// Messages that are not ours after which the server is taken for broken: on
/// a connection of our own there should be none.
const MAX_STRAYS: usize = 8;

/// Asks once, and waits for as long as the caller does.
pub(super) async fn exchange(server: SocketAddr, transaction: &Transaction) -> Result<Judged, Failure> {
    match converse(server, transaction).await {
        Ok(Judged::NotOurs | Judged::Misspelled | Judged::Truncated) => Err(Failure::UpstreamUnusable),
        Ok(judged) => Ok(judged),
        Err(_) => Err(Failure::UpstreamUnreachable),
    }
}

async fn converse(server: SocketAddr, transaction: &Transaction) -> io::Result<Judged> {
    let mut stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let length = u16::try_from(transaction.wire().len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes(), transaction.wire()].concat()).await?;
    for _ in 0..MAX_STRAYS {
        let mut message = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut message).await?;
        match transaction.judge(&message) {
            Judged::NotOurs | Judged::Misspelled => {}
            judged => return Ok(judged),
        }
    }
    Ok(Judged::NotOurs)
}
