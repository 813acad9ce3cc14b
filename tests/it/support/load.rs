//! Clients that send reviews all the time, while something is done to the server.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::RootCertStore;

use super::server::{Answer, answer, asking, client, connect, request};

/// A client makes a new connection after so many requests, so that handshakes are part of the load.
const REQUESTS: usize = 25;

/// Some clients, each in a thread of its own.
#[derive(Debug)]
pub(crate) struct Load {
    tally: Arc<Tally>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Tally {
    over: AtomicBool,
    /// Complete answers, each with a patch.
    answered: AtomicUsize,
    /// What became of the other requests.
    lost: Mutex<Vec<String>>,
    /// Connections that did not come about; nothing was sent.
    turned_away: Mutex<Vec<String>>,
}

impl Load {
    /// Sets out with so many clients, each of which rests for `pace` after each answer.
    pub(crate) fn start(
        address: SocketAddr,
        roots: &RootCertStore,
        clients: usize,
        pace: Duration,
    ) -> Self {
        let tally = Arc::new(Tally::default());
        let clients = (0..clients)
            .map(|_| {
                let (tally, roots) = (tally.clone(), roots.clone());
                std::thread::spawn(move || {
                    if let Err(error) = keep_asking(address, &roots, pace, &tally) {
                        note(&tally.turned_away, &error);
                    }
                })
            })
            .collect();
        Self { tally, clients }
    }

    /// Complete answers so far.
    pub(crate) fn answered(&self) -> usize {
        self.tally.answered.load(Ordering::SeqCst)
    }

    /// Goes on until the server lets nobody in any more, then says how many answers came. Every request must have had its own.
    #[track_caller]
    pub(crate) fn outlast(self) -> usize {
        for client in self.clients {
            client.join().expect("a client does not panic");
        }
        assert_eq!(read(&self.tally.lost), Vec::<String>::new());
        self.tally.answered.load(Ordering::SeqCst)
    }

    /// Ends the load; every connection must have come about, and every request must have had its answer.
    #[track_caller]
    pub(crate) fn finish(self) {
        self.tally.over.store(true, Ordering::SeqCst);
        let tally = self.tally.clone();
        assert!(self.outlast() > 0);
        assert_eq!(read(&tally.turned_away), Vec::<String>::new());
    }
}

fn read(texts: &Mutex<Vec<String>>) -> Vec<String> {
    texts.lock().expect("nobody panics here").clone()
}

fn note(texts: &Mutex<Vec<String>>, text: &impl ToString) {
    texts
        .lock()
        .expect("nobody panics here")
        .push(text.to_string());
}

/// One client; errs once no connection comes about.
fn keep_asking(
    address: SocketAddr,
    roots: &RootCertStore,
    pace: Duration,
    tally: &Tally,
) -> std::io::Result<()> {
    let bytes = request("/mutate/annotated?timeout=10s", &asking("load"));
    while !tally.over.load(Ordering::SeqCst) {
        let mut connection = connect(address, client(roots.clone()))?;
        for _ in 0..REQUESTS {
            let outcome = connection
                .write_all(&bytes)
                .and_then(|()| answer(&mut connection));
            let last = match &outcome {
                Ok(answer) if has_patch(answer) => {
                    tally.answered.fetch_add(1, Ordering::SeqCst);
                    answer.head.contains("connection: close")
                }
                Ok(answer) => {
                    note(&tally.lost, &answer.head);
                    true
                }
                Err(error) => {
                    note(&tally.lost, error);
                    true
                }
            };
            if last || tally.over.load(Ordering::SeqCst) {
                break;
            }
            std::thread::sleep(pace);
        }
    }
    Ok(())
}

fn has_patch(answer: &Answer) -> bool {
    let response = answer.response();
    answer.status == 200 && response["uid"] == "load" && response["patch"].is_string()
}
