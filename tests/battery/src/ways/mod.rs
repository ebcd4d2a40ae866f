//! Every way out, in the order in which they are tried.

mod direct;
mod exhaust;
mod host;
mod leases;
mod link;
mod names;
mod power;
mod raw;
mod spoofed;

pub use power::send_as_told;

use std::io;
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::aim::Aim;
use crate::attempt::{Attempt, Outcome, Try};
use crate::{dns, send};

/// All attempts that can be made at this aim.
pub fn all(aim: &Aim) -> Vec<Attempt> {
    let has_control = aim.permitted.is_some() && !aim.dns.is_empty();
    let control = |when| has_control.then(|| control(when));
    let mut all = Vec::from_iter(control("begin"));
    all.extend(direct::all(aim));
    all.extend(raw::all(aim));
    all.extend(spoofed::all(aim));
    all.extend(link::all(aim));
    all.extend(host::all(aim));
    all.extend(control("middle"));
    all.extend(names::all(aim));
    all.extend(leases::all(aim));
    all.extend(power::all(aim));
    all.extend(exhaust::all(aim));
    all.extend(control("end"));
    all
}

/// How long what is permitted may take to work again after all that was tried.
const RECOVERY: Duration = Duration::from_secs(30);

/// What is permitted works: a wall is more than a cut wire.
fn control(when: &str) -> Attempt {
    let what = "resolve the permitted name, connect, and say something: this has to work";
    Attempt::new(format!("control-{when}"), what, |this| {
        let start = Instant::now();
        loop {
            match permitted_works(this) {
                Err(_) if start.elapsed() < RECOVERY => thread::sleep(Duration::from_millis(100)),
                outcome => return outcome,
            }
        }
    })
    .control()
}

fn permitted_works(this: &Try<'_>) -> Outcome {
    let (Some((name, port)), Some(&server)) = (&this.aim.permitted, this.aim.dns.first()) else {
        return Err(io::Error::other("needs --permitted and --dns"));
    };
    let addresses = dns::resolve(server, name, dns::A)?;
    let &address = addresses.first().ok_or_else(|| io::Error::other("no address"))?;
    let mut stream = send::connect((address, *port).into(), this.port, this.payload())?;
    let heard = io::Read::read(&mut stream, &mut [0; 1])?;
    Ok(format!("connected to {address}, heard {heard} octet"))
}

/// Which family, as the ids tell it.
fn family(address: IpAddr) -> char {
    if address.is_ipv4() { '4' } else { '6' }
}

/// Goes through all of them, and tells how many were sent and what the kernel
/// said about the first that was not.
fn each<T>(of: impl IntoIterator<Item = T>, send: impl Fn(T) -> io::Result<()>) -> Outcome {
    let (mut sent, mut refused, mut first) = (0, 0, None);
    for one in of {
        match send(one) {
            Ok(()) => sent += 1,
            Err(error) => {
                refused += 1;
                first.get_or_insert(error);
            }
        }
    }
    match first {
        None => Ok(format!("sent {sent}")),
        Some(error) => Ok(format!("sent {sent}, refused {refused}: {error}")),
    }
}
