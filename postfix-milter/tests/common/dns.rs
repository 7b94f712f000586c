//! A DNS server on loopback that says what a test wants.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};

use mail_auth::hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use mail_auth::hickory_resolver::proto::rr::rdata::{CNAME, TXT};
use mail_auth::hickory_resolver::proto::rr::{Name, RData, Record};

/// What the server says to a name. To others it says that there is no such name.
#[derive(Debug, Clone)]
pub enum Says {
    /// A text in strings of at most this many octets, and for how many seconds it holds.
    Text(String, usize, u32),
    /// Several records with a text each, and for how many seconds they hold.
    Texts(Vec<String>, u32),
    Alias(String, u32),
    /// A text that is told by TCP only.
    Long(String),
    /// The name exists, the record does not.
    Nothing,
    Code(ResponseCode),
    Silence,
}

#[derive(Default)]
struct Shared {
    zone: HashMap<String, Says>,
    asked: Vec<String>,
}

/// Stops when the process does: a thread that waits for datagrams costs nothing.
pub struct Dns {
    pub address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

impl Dns {
    pub fn start() -> Dns {
        // The port that one gives must be free for the other.
        let (socket, listener) = std::iter::repeat_with(|| UdpSocket::bind("127.0.0.1:0").unwrap())
            .find_map(|socket| {
                let listener = TcpListener::bind(socket.local_addr().unwrap()).ok()?;
                Some((socket, listener))
            })
            .unwrap();
        let address = socket.local_addr().unwrap();
        let shared = Arc::new(Mutex::new(Shared::default()));
        let zone = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut length = [0; 2];
                while stream.read_exact(&mut length).is_ok() {
                    let mut query = vec![0; u16::from_be_bytes(length).into()];
                    stream.read_exact(&mut query).unwrap();
                    let query = Message::from_vec(&query).unwrap();
                    let answer = answer(&query, true, &mut zone.lock().unwrap()).unwrap();
                    let answer = answer.to_vec().unwrap();
                    let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
                    stream
                        .write_all(&[&length, answer.as_slice()].concat())
                        .unwrap();
                }
            }
        });
        let zone = Arc::clone(&shared);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, client)) = socket.recv_from(&mut buffer) {
                let query = Message::from_vec(&buffer[..length]).unwrap();
                if let Some(answer) = answer(&query, false, &mut zone.lock().unwrap()) {
                    socket.send_to(&answer.to_vec().unwrap(), client).unwrap();
                }
            }
        });
        Dns { address, shared }
    }

    pub fn say(&self, name: &str, says: Says) {
        let mut shared = self.shared.lock().unwrap();
        shared.zone.insert(name.to_owned(), says);
    }

    /// A text that holds for an hour.
    pub fn text(&self, name: &str, text: &str) {
        self.say(name, Says::Text(text.to_owned(), 255, 3600));
    }

    /// The names that were asked for since the last time.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.lock().unwrap().asked)
    }
}

fn answer(query: &Message, by_tcp: bool, shared: &mut Shared) -> Option<Message> {
    let question = query.queries[0].clone();
    let name = question.name().to_string();
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    shared.asked.push(name.clone());
    let mut answer = Message::response(query.metadata.id, OpCode::Query);
    answer.metadata.recursion_available = true;
    let record = |ttl, data| Record::from_rdata(question.name().clone(), ttl, data);
    match shared.zone.get(&name) {
        None => answer.metadata.response_code = ResponseCode::NXDomain,
        Some(Says::Nothing) => {}
        Some(Says::Silence) => return None,
        Some(Says::Code(code)) => answer.metadata.response_code = *code,
        Some(Says::Text(text, most, ttl)) => {
            let strings = text.as_bytes().chunks(*most).collect();
            answer.add_answer(record(*ttl, RData::TXT(TXT::from_bytes(strings))));
        }
        Some(Says::Texts(texts, ttl)) => {
            for text in texts {
                let strings = text.as_bytes().chunks(255).collect();
                answer.add_answer(record(*ttl, RData::TXT(TXT::from_bytes(strings))));
            }
        }
        Some(Says::Long(_)) if !by_tcp => answer.metadata.truncation = true,
        Some(Says::Long(text)) => {
            let strings = text.as_bytes().chunks(255).collect();
            answer.add_answer(record(3600, RData::TXT(TXT::from_bytes(strings))));
        }
        Some(Says::Alias(target, ttl)) => {
            let target = Name::from_ascii(format!("{target}.")).unwrap();
            answer.add_answer(record(*ttl, RData::CNAME(CNAME(target))));
        }
    }
    answer.add_query(question);
    Some(answer)
}
