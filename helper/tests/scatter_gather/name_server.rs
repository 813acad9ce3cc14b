//! A name server on port 53 of a loopback address, which needs root. It can lie, fail and fall silent.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::SOA;
use hickory_resolver::proto::rr::{Name, RData, Record};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

/// The most that goes into a datagram without EDNS (RFC 1035, 4.2.1); more is asked for again over TCP.
const DATAGRAM: usize = 512;

/// How questions go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    Servfail,
    Silence,
}

#[derive(Debug, Default)]
struct State {
    /// Addresses and their time to live, by name.
    zone: Mutex<BTreeMap<String, (u32, Vec<IpAddr>)>>,
    troubles: Mutex<Vec<(String, Trouble)>>,
    asked: Mutex<Vec<String>>,
}

/// Gone when it goes out of scope.
#[derive(Debug)]
pub(super) struct NameServer {
    state: Arc<State>,
    resolv_conf: NamedTempFile,
    _serving: JoinSet<()>,
}

impl NameServer {
    /// With the resolv.conf of a Pod in the namespace `shop`.
    pub(super) async fn start(ip: IpAddr) -> Self {
        let state = Arc::<State>::default();
        let mut serving = JoinSet::new();
        let datagrams = UdpSocket::bind((ip, 53)).await.expect("port 53, as root");
        let streams = TcpListener::bind((ip, 53)).await.expect("port 53, as root");
        serving.spawn(serve_datagrams(datagrams, state.clone()));
        serving.spawn(serve_streams(streams, state.clone()));
        let mut resolv_conf = NamedTempFile::new().expect("a temporary file");
        write!(
            resolv_conf,
            "nameserver {ip}\nsearch shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
        )
        .expect("a resolv.conf");
        Self {
            state,
            resolv_conf,
            _serving: serving,
        }
    }

    pub(super) fn resolv_conf(&self) -> &Path {
        self.resolv_conf.path()
    }

    /// The addresses of a name from now on; the name is a full one, such as `leaf.shop.svc.cluster.local`.
    pub(super) fn set(&self, name: &str, ttl: u32, addresses: &[IpAddr]) {
        let mut zone = self.state.zone.lock().expect("no panic here");
        zone.insert(format!("{name}."), (ttl, addresses.to_vec()));
    }

    /// There is no such name any more.
    pub(super) fn remove(&self, name: &str) {
        let mut zone = self.state.zone.lock().expect("no panic here");
        zone.remove(&format!("{name}."));
    }

    /// What happens from now on to questions for names that end so; to all of them, if it is empty.
    pub(super) fn troubled(&self, suffix: &str, trouble: Trouble) {
        *self.state.troubles.lock().expect("no panic here") = vec![(format!("{suffix}."), trouble)];
    }

    pub(super) fn well(&self) {
        self.state.troubles.lock().expect("no panic here").clear();
    }

    /// The questions so far, such as `A leaf.shop.svc.cluster.local.`
    pub(super) fn asked(&self) -> Vec<String> {
        self.state.asked.lock().expect("no panic here").clone()
    }
}

impl State {
    /// Nothing where there is silence.
    fn answer(&self, bytes: &[u8]) -> Option<Message> {
        let question = Message::from_vec(bytes).expect("a DNS message");
        let mut answer = Message::response(question.metadata.id, OpCode::Query);
        answer.metadata.recursion_desired = question.metadata.recursion_desired;
        answer.metadata.recursion_available = true;
        let query = question.queries.first().expect("a question");
        answer.add_query(query.clone());
        let name = query.name().to_lowercase().to_ascii();
        let mut asked = self.asked.lock().expect("no panic here");
        asked.push(format!("{} {name}", query.query_type()));
        let troubles = self.troubles.lock().expect("no panic here");
        let trouble = troubles.iter().find(|(suffix, _)| name.ends_with(suffix));
        match trouble {
            Some((_, Trouble::Silence)) => return None,
            Some((_, Trouble::Servfail)) => {
                answer.metadata.response_code = ResponseCode::ServFail;
            }
            None => self.look_up(query, &name, &mut answer),
        }
        Some(answer)
    }

    fn look_up(&self, query: &Query, name: &str, answer: &mut Message) {
        let zone = self.zone.lock().expect("no panic here");
        let found = zone.get(name);
        let (ttl, addresses) = found.map_or((0, [].as_slice()), |(ttl, all)| (*ttl, all));
        for address in addresses {
            let data = match address {
                IpAddr::V4(ip) => RData::A((*ip).into()),
                IpAddr::V6(ip) => RData::AAAA((*ip).into()),
            };
            if data.record_type() == query.query_type() {
                answer.add_answer(Record::from_rdata(query.name().clone(), ttl, data));
            }
        }
        if found.is_none() {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
        if answer.answers.is_empty() {
            // As CoreDNS has it: nothing is there for 30 s.
            let (zone, of) = ("cluster.local.", "ns.cluster.local.");
            let name = |text| Name::from_ascii(text).expect("a name");
            let soa = SOA::new(name(of), name(of), 1, 7200, 1800, 86400, 30);
            answer.add_authority(Record::from_rdata(name(zone), 30, RData::SOA(soa)));
        }
    }
}

async fn serve_datagrams(socket: UdpSocket, state: Arc<State>) {
    let mut buffer = [0; 4096];
    loop {
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let Some(answer) = state.answer(&buffer[..length]) else {
            continue;
        };
        let mut bytes = answer.to_vec().expect("an answer");
        if bytes.len() > DATAGRAM {
            bytes = answer.truncate().to_vec().expect("an answer");
        }
        let _ = socket.send_to(&bytes, peer).await;
    }
}

async fn serve_streams(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            connections.spawn(serve_stream(stream, state.clone()));
        }
    }
}

async fn serve_stream(mut stream: TcpStream, state: Arc<State>) {
    while let Ok(length) = stream.read_u16().await {
        let mut question = vec![0; length.into()];
        if stream.read_exact(&mut question).await.is_err() {
            return;
        }
        let Some(answer) = state.answer(&question) else {
            continue;
        };
        let bytes = answer.to_vec().expect("an answer");
        let length = u16::try_from(bytes.len()).expect("a length");
        let framed = [&length.to_be_bytes(), bytes.as_slice()].concat();
        if stream.write_all(&framed).await.is_err() {
            return;
        }
    }
}
