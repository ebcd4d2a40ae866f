//! Paced: so many questions a second, whatever comes back.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use super::lane::{Lane, now};
use super::{Questions, Tally};

/// Asks `rate` questions a second for `span`, in turn over all sockets.
pub fn go(
    lanes: &mut [Lane],
    questions: &mut Questions,
    tally: &mut Tally,
    span: Duration,
    rate: f64,
) -> io::Result<()> {
    let start = now();
    let end = start + span.as_nanos() as u64;
    let gap = 1e9 / rate;
    let due = |asked: u64| start + (asked as f64 * gap) as u64;
    let (mut asked, mut given_up) = (0, start);
    while now() < end {
        let at = now();
        while due(asked) <= at {
            let place = (asked % lanes.len() as u64) as usize;
            let lane = &mut lanes[place];
            if lane.is_full() {
                tally.unsent += 1;
            } else {
                lane.ask(questions, due(asked))?;
            }
            asked += 1;
        }
        for lane in &mut *lanes {
            lane.flush()?;
        }
        wait(lanes, Duration::from_nanos(due(asked).saturating_sub(now())))?;
        for lane in &mut *lanes {
            lane.receive(questions, tally)?;
        }
        if now() > given_up + 100_000_000 {
            given_up = now();
            lanes.iter_mut().for_each(|lane| lane.give_up(tally));
        }
    }
    Ok(())
}

fn wait(lanes: &[Lane], most: Duration) -> io::Result<()> {
    let mut sockets: Vec<_> = lanes.iter().map(|lane| PollFd::new(lane.socket.as_fd(), PollFlags::POLLIN)).collect();
    match ppoll(&mut sockets, Some(TimeSpec::from_duration(most)), None) {
        Ok(_) | Err(nix::Error::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
