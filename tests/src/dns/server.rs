//! The server: UDP and TCP (RFC 1035 section 4.2) on one port of loopback.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{CNAME, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::zone::{Data, Zone};

/// Longest answer over UDP, whatever the client takes: fits into any packet (DNS flag day 2020).
const LONGEST_DATAGRAM: u16 = 1232;
/// Links from one CNAME to the next that are followed.
const LONGEST_CHAIN: usize = 8;
/// How long an idle TCP connection is kept.
const IDLE: Duration = Duration::from_secs(30);
/// Port 0: pairs of a TCP and a UDP port that are tried.
const ATTEMPTS: usize = 20;

/// The running server. It ends with this value.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
}

/// What all threads of a server share.
struct Shared {
    zone: PathBuf,
    log: File,
    stopped: Arc<AtomicBool>,
}

impl Server {
    /// Listens on 127.0.0.1; port 0 takes any free one. The zone file may come later.
    pub fn start(port: u16, zone: &Path) -> io::Result<Server> {
        let (tcp, udp) = bind(port)?;
        let address = udp.local_addr()?;
        let stopped = Arc::new(AtomicBool::new(false));
        let shared = Arc::new(Shared {
            zone: zone.to_owned(),
            log: OpenOptions::new()
                .create(true)
                .write(true)
                .truncate(true)
                .open(super::log(zone))?,
            stopped: Arc::clone(&stopped),
        });
        let of_tcp = Arc::clone(&shared);
        thread::spawn(move || serve_tcp(&tcp, &of_tcp));
        thread::spawn(move || serve_udp(&udp, &shared));
        Ok(Server { address, stopped })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the listeners, which see that they are to stop.
        TcpStream::connect(self.address).ok();
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|socket| socket.send_to(&[], self.address))
            .ok();
    }
}

/// The same port for both.
fn bind(port: u16) -> io::Result<(TcpListener, UdpSocket)> {
    let mut failure = None;
    for _ in 0..if port == 0 { ATTEMPTS } else { 1 } {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        match UdpSocket::bind(tcp.local_addr()?) {
            Ok(udp) => return Ok((tcp, udp)),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| io::Error::other("no attempt")))
}

fn serve_udp(socket: &UdpSocket, shared: &Shared) {
    let mut buffer = [0; 4096];
    while let Ok((length, client)) = socket.recv_from(&mut buffer) {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let query = buffer.get(..length).unwrap_or_default();
        if let Some((answer, longest)) = shared.answer(query)
            && let Ok(bytes) = cut(&answer, longest)
        {
            socket.send_to(&bytes, client).ok();
        }
    }
}

/// The message, or its head with the mark that says so if it is longer than that.
fn cut(answer: &Message, longest: u16) -> io::Result<Vec<u8>> {
    let bytes = answer.to_vec().map_err(io::Error::other)?;
    if bytes.len() <= usize::from(longest) {
        return Ok(bytes);
    }
    answer.truncate().to_vec().map_err(io::Error::other)
}

fn serve_tcp(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let shared = Arc::clone(shared);
        // A client that goes away in the middle of a query is no news.
        thread::spawn(move || stream.and_then(|stream| serve_client(stream, &shared)).ok());
    }
}

/// Each message with its length in front, in two octets.
fn serve_client(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut query)?;
        if let Some((answer, _)) = shared.answer(&query) {
            let bytes = answer.to_vec().map_err(io::Error::other)?;
            let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
            stream.write_all(&[&length.to_be_bytes()[..], &bytes].concat())?;
        }
    }
}

impl Shared {
    /// The answer, and how long it may be over UDP; `None` if there is to be none.
    fn answer(&self, bytes: &[u8]) -> Option<(Message, u16)> {
        let query = Message::from_vec(bytes).ok()?;
        if query.metadata.message_type != MessageType::Query {
            return None;
        }
        let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
        answer.metadata.recursion_desired = query.metadata.recursion_desired;
        answer.metadata.recursion_available = true;
        answer.add_queries(query.queries.iter().cloned());
        if query.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(LONGEST_DATAGRAM);
            answer.set_edns(edns);
        }
        let longest = query.max_payload().min(LONGEST_DATAGRAM);
        match query.queries.as_slice() {
            [question] if query.metadata.op_code == OpCode::Query => {
                let name = question.name().to_lowercase();
                let shown = name.to_ascii();
                writeln!(&self.log, "{}", shown.trim_end_matches('.')).ok();
                match Zone::load(&self.zone) {
                    Ok(zone) => fill(&mut answer, &zone, name, question.query_type())?,
                    Err(why) => {
                        eprintln!("DNS: {}: {why}", self.zone.display());
                        answer.metadata.response_code = ResponseCode::ServFail;
                    }
                }
            }
            _ => answer.metadata.response_code = ResponseCode::NotImp,
        }
        Some((answer, longest))
    }
}

/// Adds what the zone has for a name. `None`: no answer at all.
fn fill(answer: &mut Message, zone: &Zone, mut name: Name, wanted: RecordType) -> Option<()> {
    for _ in 0..LONGEST_CHAIN {
        let before = answer.answers.len();
        let mut known = false;
        let mut next = None;
        for entry in zone.of(&name) {
            known = true;
            let mut found = |data| {
                let record = Record::from_rdata(name.clone(), entry.ttl, data);
                answer.answers.push(record);
            };
            let failed = match &entry.data {
                Data::Txt(text) => {
                    if matches!(wanted, RecordType::TXT | RecordType::ANY) {
                        found(RData::TXT(text.clone()));
                    }
                    continue;
                }
                Data::Cname { target, alone } => {
                    found(RData::CNAME(CNAME(target.clone())));
                    next = (!alone && wanted != RecordType::CNAME).then(|| target.clone());
                    continue;
                }
                Data::Timeout => return None,
                Data::ServFail => ResponseCode::ServFail,
                Data::Refused => ResponseCode::Refused,
                Data::NxDomain => {
                    deny(answer, &name, ResponseCode::NXDomain, entry.ttl);
                    return Some(());
                }
            };
            answer.metadata.response_code = failed;
            return Some(());
        }
        match next {
            Some(target) => name = target,
            None => {
                if answer.answers.is_empty() {
                    let code = match known {
                        true => ResponseCode::NoError,
                        false => ResponseCode::NXDomain,
                    };
                    deny(answer, &name, code, 0);
                } else if answer.answers.len() > before {
                    answer.metadata.authoritative = true;
                }
                return Some(());
            }
        }
    }
    Some(())
}

/// A negative answer that may be cached for `ttl` seconds (RFC 2308 section 3).
fn deny(answer: &mut Message, name: &Name, code: ResponseCode, ttl: u32) {
    answer.metadata.response_code = code;
    answer.metadata.authoritative = true;
    let zone = name.trim_to(1);
    let soa = SOA::new(zone.clone(), zone.clone(), 1, 3600, 600, 86_400, ttl);
    answer.add_authority(Record::from_rdata(zone, ttl, RData::SOA(soa)));
}

#[cfg(test)]
mod tests {
    use std::fs;

    use hickory_proto::op::Query;

    use super::*;
    use crate::dns::{queries, zone};

    struct Dns {
        server: Server,
        directory: tempfile::TempDir,
    }

    impl Dns {
        fn with(zone: &str) -> Dns {
            let directory = tempfile::tempdir().expect("directory");
            fs::write(directory.path().join("zone"), zone).expect("zone");
            let server = Server::start(0, &directory.path().join("zone")).expect("server");
            Dns { server, directory }
        }

        fn zone(&self) -> PathBuf {
            self.directory.path().join("zone")
        }

        /// `None` if there is no answer for a while.
        fn ask(&self, query: &Message) -> Option<Message> {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("socket");
            let wait = Duration::from_millis(300);
            socket.set_read_timeout(Some(wait)).expect("time-out");
            socket
                .send_to(&query.to_vec().expect("query"), self.server.address())
                .expect("send");
            let mut buffer = [0; 4096];
            let length = socket.recv(&mut buffer).ok()?;
            let answer = Message::from_vec(&buffer[..length]).expect("answer");
            assert_eq!(answer.metadata.id, query.metadata.id);
            Some(answer)
        }

        fn txt(&self, name: &str) -> Option<Message> {
            self.ask(&query(name, RecordType::TXT))
        }

        fn over_tcp(&self, query: &Message) -> Message {
            let mut stream = TcpStream::connect(self.server.address()).expect("connect");
            let bytes = query.to_vec().expect("query");
            let length = u16::try_from(bytes.len()).expect("short").to_be_bytes();
            stream.write_all(&length).expect("send");
            stream.write_all(&bytes).expect("send");
            let mut length = [0; 2];
            stream.read_exact(&mut length).expect("length");
            let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut answer).expect("answer");
            Message::from_vec(&answer).expect("answer")
        }
    }

    fn query(name: &str, kind: RecordType) -> Message {
        let mut query = Message::query();
        let name = zone::parse_name(name).expect("name");
        query.add_query(Query::query(name, kind));
        query
    }

    /// Type, TTL and data of each answer.
    fn shown(answer: &Message) -> Vec<String> {
        let record = |r: &Record| format!("{} {} {}", r.ttl, r.record_type(), r.data);
        answer.answers.iter().map(record).collect()
    }

    #[test]
    fn a_key_is_answered_with_its_strings_and_its_ttl() {
        let dns = Dns::with("s._domainkey.a.test 300 TXT \"v=DKIM1; \" \"p=AB\"\n");
        let answer = dns.txt("S._DomainKey.A.test").expect("answer");
        let [record] = answer.answers.as_slice() else {
            panic!("{answer}")
        };
        let RData::TXT(text) = &record.data else {
            panic!("{record}")
        };
        assert_eq!(record.ttl, 300);
        assert_eq!(&*text.txt_data[0], b"v=DKIM1; ");
        assert_eq!(&*text.txt_data[1], b"p=AB");
        assert_eq!(queries(&dns.zone()).expect("log"), ["s._domainkey.a.test"]);
    }

    #[test]
    fn a_changed_zone_is_seen_by_the_next_query() {
        let dns = Dns::with("");
        let code = |answer: Message| answer.metadata.response_code;
        let before = dns.txt("a.test").map(code);
        assert_eq!(before, Some(ResponseCode::NXDomain));
        zone::add_to(&dns.zone(), "a.test 5 TXT \"one\"").expect("add");
        zone::add_to(&dns.zone(), "a.test 5 TXT \"two\"").expect("add");
        assert_eq!(dns.txt("a.test").expect("answer").answers.len(), 2);
    }

    #[test]
    fn an_alias_comes_with_its_target_or_alone() {
        let dns = Dns::with(
            "a.test 5 CNAME b.test\nb.test 6 CNAME c.test\nc.test 7 TXT \"key\"\n\
             d.test 8 CNAME-ONLY c.test\ne.test 9 CNAME f.test\nf.test 9 SERVFAIL\nl.test 1 CNAME l.test\n",
        );
        let of = |name| shown(&dns.txt(name).expect("answer"));
        assert_eq!(
            of("a.test"),
            ["5 CNAME b.test.", "6 CNAME c.test.", "7 TXT key"]
        );
        assert_eq!(of("d.test"), ["8 CNAME c.test."]);
        let failed = dns.txt("e.test").expect("answer").metadata.response_code;
        assert_eq!(failed, ResponseCode::ServFail);
        assert!(!of("l.test").is_empty(), "a loop ends");
    }

    #[test]
    fn the_troubles_of_dns_are_played() {
        let dns = Dns::with(
            "s.test 5 SERVFAIL\nr.test 5 REFUSED\nt.test 5 TIMEOUT\nn.test 60 NXDOMAIN\n",
        );
        let code = |name| dns.txt(name).map(|answer| answer.metadata.response_code);
        assert_eq!(code("s.test"), Some(ResponseCode::ServFail));
        assert_eq!(code("r.test"), Some(ResponseCode::Refused));
        assert_eq!(code("t.test"), None);
        assert_eq!(code("n.test"), Some(ResponseCode::NXDomain));
        assert_eq!(code("x.test"), Some(ResponseCode::NXDomain));
        let asked = queries(&dns.zone()).expect("log");
        assert_eq!(asked, ["s.test", "r.test", "t.test", "n.test", "x.test"]);
        zone::add_to(&dns.zone(), "x.test 5 TXT \"x\"").expect("add");
        fs::write(dns.zone(), "no record").expect("zone");
        assert_eq!(code("x.test"), Some(ResponseCode::ServFail));
    }

    #[test]
    fn what_is_not_there_may_be_cached_as_long_as_the_zone_says() {
        let dns = Dns::with("n.test 60 NXDOMAIN\nt.test 300 TXT \"x\"\n");
        let soa = |answer: Message| match &answer.authorities[..] {
            [
                Record {
                    ttl,
                    data: RData::SOA(soa),
                    ..
                },
            ] => (*ttl, soa.minimum),
            other => panic!("{other:?}"),
        };
        assert_eq!(soa(dns.txt("n.test").expect("answer")), (60, 60));
        assert_eq!(soa(dns.txt("x.test").expect("answer")), (0, 0));
        let other_type = dns.ask(&query("t.test", RecordType::A)).expect("answer");
        assert_eq!(other_type.metadata.response_code, ResponseCode::NoError);
        assert_eq!(other_type.answers, []);
        assert_eq!(soa(other_type), (0, 0));
    }

    #[test]
    fn a_long_answer_is_cut_over_udp_and_whole_over_tcp() {
        let dns = Dns::with(&format!("{}\n", zone::txt("k.test", 5, &"A".repeat(800))));
        let mut query = query("k.test", RecordType::TXT);
        let plain = dns.ask(&query).expect("answer");
        assert!(plain.metadata.truncation && plain.answers.is_empty());
        assert_eq!(dns.over_tcp(&query).answers.len(), 1);
        let mut edns = Edns::new();
        edns.set_max_payload(1232);
        query.set_edns(edns);
        let whole = dns.ask(&query).expect("answer");
        assert!(!whole.metadata.truncation && whole.edns.is_some());
        assert_eq!(whole.answers.len(), 1);
    }

    #[test]
    fn a_stopped_server_leaves_its_port() {
        let Dns { server, directory } = Dns::with("");
        let port = server.address().port();
        drop(server);
        let again = crate::wait::poll(crate::wait::DEADLINE, || {
            Server::start(port, &directory.path().join("zone")).ok()
        });
        assert!(again.is_some());
    }
}
