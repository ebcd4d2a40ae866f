//! As much of DNS messages (RFC 1035, RFC 6891) as a stub server and a
//! generator need: one question, one address, nothing compressed but its name.

use std::net::Ipv4Addr;

use crate::batch::ROOM;
use crate::names;

const HEADER: usize = 12;
/// Type A.
pub const A: u16 = 1;
/// Type AAAA.
pub const AAAA: u16 = 28;
/// No error.
pub const NOERROR: u8 = 0;
/// The name does not exist.
pub const NXDOMAIN: u8 = 3;
const OPT: [u8; 11] = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0];

/// Writes a question for an A record; returns its length.
pub fn write_query(into: &mut [u8; ROOM], id: u16, name: &[u8]) -> usize {
    into[..2].copy_from_slice(&id.to_be_bytes());
    into[2..HEADER].copy_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    let end = HEADER + name.len();
    into[HEADER..end].copy_from_slice(name);
    into[end..end + 4].copy_from_slice(&[0, 1, 0, 1]);
    end + 4
}

/// The id of a message.
pub fn id(message: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(message.get(..2)?.try_into().ok()?))
}

/// The name and the type of a message's one question, and where it ends.
pub fn question(message: &[u8]) -> Option<(&[u8], u16, usize)> {
    if message.get(4..6)? != [0, 1] {
        return None;
    }
    let mut end = HEADER;
    while *message.get(end)? != 0 {
        end += 1 + usize::from(message[end]);
    }
    end += 1;
    let kind = u16::from_be_bytes(message.get(end..end + 2)?.try_into().ok()?);
    message.get(end + 2..end + 4)?;
    Some((&message[HEADER..end], kind, end + 4))
}

/// Writes the answer to `query`, if that is a question; returns its length.
pub fn write_answer(into: &mut [u8; ROOM], query: &[u8], ttl: u32) -> Option<usize> {
    let (name, kind, end) = question(query).filter(|_| query[2] & 0x80 == 0)?;
    into.get_mut(..end)?.copy_from_slice(&query[..end]);
    // QR, AA, and RD as it was asked; RA.
    into[2] = 0x84 | query[2] & 1;
    into[3] = 0x80;
    let mut length = end;
    let mut add = |octets: &[u8]| {
        into[length..length + octets.len()].copy_from_slice(octets);
        length += octets.len();
    };
    let answers = matches!(kind, A | AAAA).into();
    if answers == 1 {
        add(&[0xc0, 12]);
        add(&kind.to_be_bytes());
        add(&[0, 1]);
        add(&ttl.to_be_bytes());
        if kind == A {
            add(&[0, 4]);
            add(&names::address(name).octets());
        } else {
            add(&[0, 16]);
            add(&names::address6(name).octets());
        }
    }
    let extra = (query[10..HEADER] != [0, 0]).into();
    if extra == 1 {
        add(&OPT);
    }
    into[6..HEADER].copy_from_slice(&[0, answers, 0, 0, 0, extra]);
    Some(length)
}

/// What an answer has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// No error, and this address.
    Address(Ipv4Addr),
    /// This response code, and no address.
    Code(u8),
}

/// Whether `answer` answers the question for `name` as expected; otherwise
/// what is wrong with it.
pub fn check(answer: &[u8], name: &[u8], expected: Expected) -> Result<(), String> {
    let (asked, kind, end) = question(answer).ok_or("no question")?;
    if answer[2] & 0x80 == 0 {
        return Err("a question".into());
    }
    if asked != name || kind != A {
        return Err(format!("another question: {}", String::from_utf8_lossy(asked)));
    }
    let code = answer[3] & 15;
    match expected {
        Expected::Code(expected) if code == expected => Ok(()),
        Expected::Address(address) if code == NOERROR => {
            let said = first_address(answer, end).ok_or("no address")?;
            if said == address { Ok(()) } else { Err(format!("{said} instead of {address}")) }
        }
        _ => Err(format!("response code {code}")),
    }
}

/// The address of the first record behind the question, if it is one.
fn first_address(answer: &[u8], end: usize) -> Option<Ipv4Addr> {
    if answer.get(6..8)? == [0, 0] {
        return None;
    }
    // The owner's name: a pointer, or labels.
    let mut at = end;
    loop {
        match *answer.get(at)? {
            0 => break at += 1,
            length if length >= 0xc0 => break at += 2,
            length => at += 1 + usize::from(length),
        }
    }
    let record = answer.get(at..at + 14)?;
    let is_address = record[..4] == [0, 1, 0, 1] && record[8..10] == [0, 4];
    is_address.then(|| Ipv4Addr::from(<[u8; 4]>::try_from(&record[10..14]).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{Domain, wire};

    fn exchange(name: &[u8], also: &[u8]) -> Vec<u8> {
        let (mut query, mut answer) = ([0; ROOM], [0; ROOM]);
        let mut length = write_query(&mut query, 0x1234, name);
        query[length..length + also.len()].copy_from_slice(also);
        query[11] = u8::from(!also.is_empty());
        length += also.len();
        let length = write_answer(&mut answer, &query[..length], 300).unwrap();
        answer[..length].to_vec()
    }

    #[test]
    fn an_answer_has_the_address_that_the_name_has() {
        let name = wire(Domain::Permitted, 0x01_0203);
        let answer = exchange(&name, &[]);
        let address = Ipv4Addr::new(100, 65, 2, 3);
        assert_eq!((id(&answer), answer.len()), (Some(0x1234), 12 + name.len() + 4 + 16));
        assert_eq!(check(&answer, &name, Expected::Address(address)), Ok(()));
        let with_edns = exchange(&name, &OPT);
        assert_eq!(with_edns.len(), answer.len() + OPT.len());
        assert_eq!(check(&with_edns, &name, Expected::Address(address)), Ok(()));
    }

    #[test]
    fn a_wrong_answer_is_told() {
        let name = wire(Domain::Permitted, 1);
        let good = exchange(&name, &[]);
        let expected = Expected::Address(names::address(&name));
        let with = |place: usize, octet: u8| {
            let mut answer = good.clone();
            answer[place] = octet;
            check(&answer, &name, expected)
        };
        assert_eq!(with(good.len() - 1, 9).unwrap_err(), "100.64.0.9 instead of 100.64.0.1");
        assert_eq!(with(3, 0x82).unwrap_err(), "response code 2");
        assert_eq!(with(7, 0).unwrap_err(), "no address");
        assert!(with(20, b'7').unwrap_err().starts_with("another question"));
        assert!(check(&good, &name, Expected::Code(NXDOMAIN)).is_err());
        assert!(check(&good[..15], &name, expected).is_err());
        assert!((0..good.len()).all(|end| check(&good[..end], &name, expected).is_err()));
    }

    #[test]
    fn what_is_no_question_gets_no_answer() {
        let answer = exchange(&wire(Domain::Permitted, 1), &[]);
        let mut into = [0; ROOM];
        assert_eq!(write_answer(&mut into, &answer, 300), None);
        assert!((0..30).all(|end| write_answer(&mut into, &answer[..end], 300).is_none()));
        let root = [&[0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0], [0, 0, 2, 0, 1].as_slice()].concat();
        assert_eq!(write_answer(&mut into, &root, 300), Some(17));
    }
}
