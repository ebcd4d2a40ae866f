//! RDATA without name compression, so that it means the same in another
//! message (RFC 3597 section 4).

use hickory_proto::rr::Name as WireName;
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, BinEncodable, BinEncoder, NameEncoding};

/// Where the names stand in the RDATA of the types in which they may be
/// compressed. Everything after the last name is plain octets, as is the
/// RDATA of every other type.
enum Layout {
    /// So many octets, then so many names.
    Names { after: usize, count: usize },
    /// NAPTR (RFC 3403 section 4.1): four octets, three character strings, a
    /// name.
    Naptr,
    /// No names that may be compressed.
    Plain,
}

const fn layout(kind: u16) -> Layout {
    match kind {
        // NS, MD, MF, CNAME, MB, MG, MR, PTR, DNAME
        2..=5 | 7..=9 | 12 | 39 => Layout::Names { after: 0, count: 1 },
        // SOA, MINFO, RP
        6 | 14 | 17 => Layout::Names { after: 0, count: 2 },
        // MX, AFSDB, RT, KX
        15 | 18 | 21 | 36 => Layout::Names { after: 2, count: 1 },
        // PX
        26 => Layout::Names { after: 2, count: 2 },
        // SRV
        33 => Layout::Names { after: 6, count: 1 },
        35 => Layout::Naptr,
        // SIG, and RRSIG out of caution (RFC 4034 forbids it there)
        24 | 46 => Layout::Names { after: 18, count: 1 },
        // NXT, and NSEC out of caution
        30 | 47 => Layout::Names { after: 0, count: 1 },
        _ => Layout::Plain,
    }
}

/// Reads `length` octets of RDATA of type `kind`; `None` if a name in it is
/// malformed or reaches beyond it.
pub(super) fn uncompressed(decoder: &mut BinDecoder<'_>, kind: u16, length: usize) -> Option<Vec<u8>> {
    let end = decoder.index() + length;
    if decoder.len() < length {
        return None;
    }
    let mut rdata = Vec::with_capacity(length);
    match layout(kind) {
        // An update's empty RDATA has no names either.
        Layout::Names { .. } | Layout::Naptr if length == 0 => {}
        Layout::Names { after, count } => {
            copy(decoder, after, &mut rdata)?;
            for _ in 0..count {
                copy_name(decoder, &mut rdata)?;
            }
        }
        Layout::Naptr => {
            copy(decoder, 4, &mut rdata)?;
            for _ in 0..3 {
                let text = decoder.read_character_data().ok()?.unverified();
                rdata.push(u8::try_from(text.len()).ok()?);
                rdata.extend_from_slice(text);
            }
            copy_name(decoder, &mut rdata)?;
        }
        Layout::Plain => {}
    }
    let rest = end.checked_sub(decoder.index())?;
    copy(decoder, rest, &mut rdata)?;
    Some(rdata)
}

fn copy(decoder: &mut BinDecoder<'_>, length: usize, rdata: &mut Vec<u8>) -> Option<()> {
    rdata.extend_from_slice(decoder.read_slice(length).ok()?.unverified());
    Some(())
}

fn copy_name(decoder: &mut BinDecoder<'_>, rdata: &mut Vec<u8>) -> Option<()> {
    let name = WireName::read(decoder).ok()?;
    let mut octets = Vec::new();
    let mut encoder = BinEncoder::new(&mut octets);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    name.emit(&mut encoder).ok()?;
    rdata.extend_from_slice(&octets);
    Some(())
}
