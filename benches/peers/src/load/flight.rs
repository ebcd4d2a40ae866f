//! The questions in flight on one socket, and the id of each: its place, and
//! how often the place was used, so that an answer that comes too late is not
//! taken for another's.

/// Places there can be: ten bits of the id.
pub const MOST: usize = 1 << PLACE_BITS;
const PLACE_BITS: u16 = 10;

/// A question in flight.
#[derive(Clone, Copy, Default)]
pub struct Flight {
    /// The name's number.
    pub number: u32,
    /// From when its latency counts, in nanoseconds.
    pub since: u64,
    uses: u16,
    is_open: bool,
}

/// All places of a socket.
pub struct Flights {
    places: Vec<Flight>,
    free: Vec<u16>,
}

impl Flights {
    /// So many places, at most [`MOST`].
    pub fn new(places: usize) -> Self {
        let free = (0..places.min(MOST)).rev().map(|place| place as u16).collect();
        Self { places: vec![Flight::default(); places.min(MOST)], free }
    }

    /// How many there are.
    pub fn places(&self) -> usize {
        self.places.len()
    }

    /// Whether every place is taken.
    pub fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    /// Takes a place; returns the question's id.
    pub fn begin(&mut self, number: u32, since: u64) -> Option<u16> {
        let place = self.free.pop()?;
        let flight = &mut self.places[usize::from(place)];
        *flight = Flight { number, since, uses: flight.uses.wrapping_add(1), is_open: true };
        Some(flight.uses << PLACE_BITS | place)
    }

    /// Gives the place of the question with this id back, if it is in flight.
    pub fn end(&mut self, id: u16) -> Option<Flight> {
        let place = id & (MOST as u16 - 1);
        let flight = self.places.get_mut(usize::from(place))?;
        if !flight.is_open || flight.uses << PLACE_BITS | place != id {
            return None;
        }
        flight.is_open = false;
        self.free.push(place);
        Some(*flight)
    }

    /// Gives up all that began before `then`; returns how many.
    pub fn give_up(&mut self, then: u64) -> u64 {
        let mut lost = 0;
        for (place, flight) in self.places.iter_mut().enumerate() {
            if flight.is_open && flight.since < then {
                flight.is_open = false;
                self.free.push(place as u16);
                lost += 1;
            }
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_good_for_one_answer() {
        let mut flights = Flights::new(2);
        let (first, second) = (flights.begin(7, 1).unwrap(), flights.begin(8, 2).unwrap());
        assert!(flights.is_full());
        assert_eq!(flights.begin(9, 3), None);
        assert_eq!(flights.end(second).unwrap().number, 8);
        assert!(flights.end(second).is_none());
        let third = flights.begin(9, 3).unwrap();
        assert_ne!(third, second);
        assert!(flights.end(second).is_none());
        assert_eq!(flights.give_up(2), 1);
        assert!(flights.end(first).is_none());
        assert_eq!(flights.end(third).unwrap().number, 9);
    }
}
