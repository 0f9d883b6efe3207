//! How long an answer of the domain name system holds. The C library's
//! resolver, which programs of the host use and the air gap with them, does
//! not tell: the name server is asked once more.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::{Duration, Instant};

use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, Question, TYPE};

use crate::surroundings::{RESOLV_CONF, name_servers};

/// How long a name server has to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Servers that are asked one after the other; resolv.conf(5) has no more.
const SERVERS_MAX: usize = 3;
/// Room for an answer over UDP.
const ANSWER_MAX: usize = 4096;

/// The time to live that the first name server to know the name tells, the
/// least of all records that the answer is made of; none if none knows it, as
/// with a name in `/etc/hosts`.
pub(super) fn time_to_live(name: &str) -> Option<Duration> {
    let text = fs::read_to_string(RESOLV_CONF).ok()?;
    let mut seen = BTreeSet::new();
    name_servers(&text)
        .filter(|server| seen.insert(*server))
        .take(SERVERS_MAX)
        .find_map(|server| {
            [TYPE::A, TYPE::AAAA]
                .into_iter()
                .filter_map(|kind| ask((server, 53), name, kind).ok().flatten())
                .min()
        })
        .map(|seconds| Duration::from_secs(seconds.into()))
}

/// Asks a name server for records of a kind.
fn ask(server: (IpAddr, u16), name: &str, kind: TYPE) -> io::Result<Option<u32>> {
    let here: IpAddr = match server.0 {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Only the server's answers reach a connected socket, whose port nobody
    // else can guess.
    let socket = UdpSocket::bind((here, 0))?;
    socket.connect(server)?;
    #[allow(clippy::cast_possible_truncation)] // 16 random bits
    let id = RandomState::new().hash_one(0) as u16;
    socket.send(&question(id, name, kind).map_err(io::Error::other)?)?;
    let until = Instant::now() + PATIENCE;
    let mut buffer = vec![0; ANSWER_MAX];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let length = socket.recv(&mut buffer)?;
        if let Some(answer) = answer(id, buffer.get(..length).unwrap_or_default()) {
            return Ok(answer);
        }
    }
}

fn question(id: u16, name: &str, kind: TYPE) -> simple_dns::Result<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let kind = QTYPE::TYPE(kind);
    let question = Question::new(Name::new(name)?, kind, CLASS::IN.into(), false);
    packet.questions.push(question);
    packet.build_bytes_vec()
}

/// The least time to live, none if the server knows no such record; none of
/// both if this is no answer to the question.
fn answer(id: u16, bytes: &[u8]) -> Option<Option<u32>> {
    let packet = Packet::parse(bytes).ok()?;
    (packet.id() == id && packet.has_flags(PacketFlag::RESPONSE))
        .then(|| packet.answers.iter().map(|record| record.ttl).min())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test may fail that way

    use std::thread;

    use simple_dns::ResourceRecord;
    use simple_dns::rdata::{A, CNAME, RData};

    use super::*;

    fn reply(question: &[u8], records: &[(u32, RData<'static>)]) -> Vec<u8> {
        let mut packet = Packet::parse(question).unwrap();
        packet.set_flags(PacketFlag::RESPONSE);
        for (ttl, data) in records {
            let name = Name::new_unchecked("www.example.com");
            let record = ResourceRecord::new(name, CLASS::IN, *ttl, data.clone());
            packet.answers.push(record);
        }
        packet.build_bytes_vec().unwrap()
    }

    #[test]
    fn the_least_of_all_records_counts() {
        let server = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let place = (
            IpAddr::from([127, 0, 0, 1]),
            server.local_addr().unwrap().port(),
        );
        let serve = thread::spawn(move || {
            let mut buffer = [0; 512];
            for records in [
                vec![
                    (
                        300,
                        RData::CNAME(CNAME(Name::new_unchecked("w.example.com"))),
                    ),
                    (20, RData::A(A { address: 1 })),
                ],
                vec![],
            ] {
                let (length, from) = server.recv_from(&mut buffer).unwrap();
                // Another's answer and noise come first.
                let mut other = reply(&buffer[..length], &[(1, RData::A(A { address: 2 }))]);
                other[0] ^= 1;
                server.send_to(&other, from).unwrap();
                server.send_to(b"noise", from).unwrap();
                server
                    .send_to(&reply(&buffer[..length], &records), from)
                    .unwrap();
            }
        });
        assert_eq!(ask(place, "www.example.com", TYPE::A).unwrap(), Some(20));
        assert_eq!(ask(place, "www.example.com", TYPE::AAAA).unwrap(), None);
        serve.join().unwrap();
    }

    #[test]
    fn what_is_no_answer_is_none() {
        let question = question(7, "www.example.com", TYPE::A).unwrap();
        assert_eq!(answer(7, &question), None);
        let whole = reply(&question, &[(20, RData::A(A { address: 1 }))]);
        assert_eq!(answer(7, &whole), Some(Some(20)));
        assert_eq!(answer(8, &whole), None);
        for length in 0..whole.len() {
            assert_eq!(answer(7, &whole[..length]), None);
        }
    }
}
