//! The closed loop: an answer makes room for the next question.

use std::io;
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::lane::{Lane, now};
use super::{Questions, Tally};

/// With fewer places than these there is nothing to gather.
const FEW: usize = 16;
const LONGEST: Duration = Duration::from_millis(2);
const SHORTEST: Duration = Duration::from_micros(1);

/// How long to rest between two rounds over all sockets: so that a quarter to a
/// half of all questions is answered meanwhile. The others wait at the server,
/// which is never out of work; and nobody waits on a socket, so no answer has to
/// wake the generator, for which the server would pay.
struct Rest(Duration);

impl Rest {
    fn after(&mut self, received: usize, places: usize) -> Duration {
        if received > places / 2 {
            self.0 /= 2;
        } else if received < places / 4 {
            self.0 = self.0 * 5 / 4 + SHORTEST;
        }
        self.0 = self.0.clamp(SHORTEST, LONGEST);
        self.0
    }
}

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
    let mut rest = Rest(SHORTEST);
    while now() < end && answers.is_none_or(|most| tally.answered + tally.wrong < most) {
        let mut received = 0;
        for lane in &mut *lanes {
            received += lane.receive(questions, tally)?;
            lane.fill(questions)?;
        }
        if places >= FEW {
            thread::sleep(rest.after(received, places));
        } else if received == 0 {
            wait(lanes)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_as_long_as_a_quarter_to_a_half_of_the_answers_take() {
        for (answers_a_microsecond, places) in [(0.02, 192), (0.3, 192), (0.3, 64)] {
            let mut rest = Rest(SHORTEST);
            let mut received = 0;
            for _ in 0..200 {
                let microseconds = rest.after(received, places).as_secs_f64() * 1e6;
                received = ((microseconds * answers_a_microsecond) as usize).min(places);
            }
            let is_longest = rest.0 == LONGEST;
            assert!(is_longest || (places / 5..=places * 6 / 10).contains(&received), "{received} of {places}");
        }
    }
}
