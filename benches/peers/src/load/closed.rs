//! The closed loop: an answer makes room for the next question.

use std::io;
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::lane::{Lane, now};
use super::{Questions, Tally};

/// Rest where fewer than one in so many places have their answer.
const FEW: usize = 8;
/// How long, so that more arrive meanwhile.
const REST: Duration = Duration::from_micros(30);

/// Asks for `span`, or until `answers` have come.
pub fn go(
    lanes: &mut [Lane],
    questions: &mut Questions,
    tally: &mut Tally,
    span: Duration,
    answers: Option<u64>,
) -> io::Result<()> {
    let end = now() + span.as_nanos() as u64;
    let mut given_up = now();
    lanes.iter_mut().try_for_each(|lane| lane.fill(questions))?;
    let places: usize = lanes.iter().map(Lane::places).sum();
    while now() < end && answers.is_none_or(|most| tally.answered + tally.wrong < most) {
        let mut received = 0;
        for lane in &mut *lanes {
            received += lane.receive(questions, tally)?;
            lane.fill(questions)?;
        }
        if received == 0 {
            wait(lanes)?;
        } else if received < places / FEW {
            thread::sleep(REST);
        }
        if now() > given_up + 100_000_000 {
            given_up = now();
            lanes.iter_mut().for_each(|lane| lane.give_up(tally));
        }
    }
    Ok(())
}

fn wait(lanes: &[Lane]) -> io::Result<()> {
    let mut sockets: Vec<_> = lanes.iter().map(|lane| PollFd::new(lane.socket.as_fd(), PollFlags::POLLIN)).collect();
    match poll(&mut sockets, PollTimeout::from(10_u8)) {
        Ok(_) | Err(nix::Error::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
