//! Bounds: slow clients, many clients, large work; each is held to its share, and the rest is served.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::support::server::{
    Answer, Connection, Server, answer, asking, client, connect, eventually, pod, request, review,
};

const DOOR: &str = "/mutate/annotated";
/// How often a slow client sends something.
const TRICKLE: Duration = Duration::from_millis(100);

/// Sends `byte` again and again until the server says something or ends the connection; what it said.
fn trickle(connection: &mut Connection, byte: u8) -> Vec<u8> {
    let pace = Some(TRICKLE);
    connection.sock.set_read_timeout(pace).expect("it is open");
    let mut said = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        match connection.read(&mut buffer) {
            Ok(0) => return said,
            Ok(length) => said.extend(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock && said.is_empty() => {
                if connection.write_all(&[byte]).is_err() {
                    return said;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // Cut off without a goodbye.
            Err(_) => return said,
        }
    }
}

/// A connection that has sent a good review but for its last byte.
fn unfinished(server: &Server, path: &str) -> Connection {
    let mut connection = server.connect();
    let mut bytes = request(path, &asking("slow"));
    bytes.pop();
    connection.write_all(&bytes).expect("it goes");
    connection
}

/// Sends the last byte, and reads the answer.
fn finish(mut connection: Connection) -> Answer {
    connection.write_all(b"}").expect("it goes");
    answer(&mut connection).expect("an answer")
}

#[track_caller]
fn assert_gauge(server: &Server, name: &str, expected: u32) {
    eventually(&format!("{expected} {name}"), || {
        (server.metric(name) - f64::from(expected)).abs() < f64::EPSILON
    });
}

#[test]
fn a_body_has_the_time_that_the_api_server_has() {
    let server = Server::start(&[]);
    let started = Instant::now();
    let mut connection = server.connect();
    let head = "POST /mutate/annotated?timeout=1s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n";
    connection.write_all(head.as_bytes()).expect("it goes");
    let said = trickle(&mut connection, b' ');
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert!(started.elapsed() < Duration::from_secs(8));
    let answer = answer(&mut said.as_slice()).expect("an answer");
    assert_eq!((answer.status, answer.text().as_str()), (408, ""));
    server.assert_rejected("body-too-slow", 1);
    server.assert_serving();
}

/// The one test that waits out the ten seconds of a head and of a handshake; all of them at once.
#[test]
fn slow_heads_and_handshakes_are_cut_and_idle_clients_are_not() {
    let server = Server::start(&[]);
    let review = request(DOOR, &asking("u"));
    let mut idle = server.connect();
    idle.write_all(&review).expect("it goes");
    assert_eq!(answer(&mut idle).expect("an answer").status, 200);
    let started = Instant::now();
    let cut = |mut connection: Connection| {
        move || {
            let said = trickle(&mut connection, b'x');
            assert_eq!(String::from_utf8_lossy(&said), "");
            started.elapsed()
        }
    };
    let mut first = server.connect();
    first
        .write_all(b"POST /mutate/annotated HTTP/1.1\r\nX: ")
        .expect("it goes");
    let mut second = server.connect();
    second.write_all(&review).expect("it goes");
    assert_eq!(answer(&mut second).expect("an answer").status, 200);
    second.write_all(b"POST").expect("it goes");
    let mut handshake = TcpStream::connect(server.webhook).expect("a connection");
    let silent = server.connect();
    let ends = [
        thread::spawn(cut(first)),
        thread::spawn(cut(second)),
        thread::spawn(move || {
            let mut connection = silent;
            let _ = connection.read_to_end(&mut Vec::new());
            started.elapsed()
        }),
        thread::spawn(move || {
            let _ = handshake.read_to_end(&mut Vec::new());
            started.elapsed()
        }),
    ];
    for end in ends {
        let elapsed = end.join().expect("it is cut");
        assert!(elapsed > Duration::from_secs(9), "{elapsed:?}");
        assert!(elapsed < Duration::from_secs(20), "{elapsed:?}");
    }
    server.assert_rejected("handshake", 1);
    // Idle for as long, and longer than it took to say so.
    idle.write_all(&review).expect("it goes");
    assert_eq!(answer(&mut idle).expect("an answer").status, 200);
    assert_gauge(&server, "outrigger_connections", 1);
}

#[test]
fn who_finds_everybody_busy_is_asked_to_come_again() {
    let server = Server::start(&["--max-in-flight", "2"]);
    let slow = [unfinished(&server, DOOR), unfinished(&server, DOOR)];
    assert_gauge(&server, "outrigger_requests_in_flight", 2);
    let third = server.post(DOOR, &asking("third"));
    assert_eq!((third.status, third.text().as_str()), (429, ""));
    assert!(third.head.contains("retry-after: 1\r\n"), "{}", third.head);
    server.assert_rejected("too-many-requests", 1);
    // The other port is nobody's share.
    assert_eq!(server.get("/livez").status, 200);
    for connection in slow {
        assert_eq!(finish(connection).response()["patchType"], "JSONPatch");
    }
    assert_gauge(&server, "outrigger_requests_in_flight", 0);
    server.assert_serving();
    // Who goes away makes room, too.
    drop([unfinished(&server, DOOR), unfinished(&server, DOOR)]);
    assert_gauge(&server, "outrigger_requests_in_flight", 0);
    server.assert_serving();
    server.assert_rejected("too-many-requests", 1);
}

#[test]
fn bodies_together_weigh_no_more_than_the_server_can_carry() {
    let server = Server::start(&[]);
    let large = |mebibytes: usize| {
        let mut body = asking("large");
        body.extend(std::iter::repeat_n(
            b' ',
            mebibytes * 1024 * 1024 - body.len(),
        ));
        request(DOOR, &body)
    };
    // Ten times 7 MiB, where 64 are the most.
    let heavy: Vec<Connection> = (0..10)
        .map(|_| {
            let mut connection = server.connect();
            let mut bytes = large(7);
            bytes.pop();
            connection.write_all(&bytes).expect("it goes");
            connection
        })
        .collect();
    let statuses: Vec<u16> = heavy
        .into_iter()
        .map(|mut connection| {
            // Who was sent away has had its answer.
            let _ = connection.write_all(b" ");
            answer(&mut connection).expect("an answer").status
        })
        .collect();
    // Two that wait for each other's room are both sent away.
    let away = statuses.iter().filter(|status| **status == 429).count();
    assert!((1..=2).contains(&away), "{statuses:?}");
    assert_eq!(
        statuses.iter().filter(|status| **status == 200).count(),
        10 - away
    );
    // The room is there again.
    let mut last = server.connect();
    last.write_all(&large(7)).expect("it goes");
    assert_eq!(answer(&mut last).expect("an answer").status, 200);
}

#[test]
fn a_connection_too_many_is_closed_until_one_leaves() {
    let server = Server::start(&["--max-connections", "8"]);
    let trust = server.trust();
    let mut eight: Vec<Connection> = (0..8).map(|_| server.connect()).collect();
    assert_gauge(&server, "outrigger_connections", 8);
    for ninth in 1..=3 {
        assert!(connect(server.webhook, client(trust.clone())).is_err());
        server.assert_rejected("too-many-connections", ninth);
    }
    for connection in &mut eight {
        connection
            .write_all(&request(DOOR, &asking("u")))
            .expect("it goes");
        assert_eq!(answer(connection).expect("an answer").status, 200);
    }
    drop(eight.pop());
    assert_gauge(&server, "outrigger_connections", 7);
    server.assert_serving();
    server.assert_rejected("too-many-connections", 3);
}

#[test]
fn connections_that_say_nothing_take_nothing() {
    let server = Server::start(&[]);
    // Both ends of each are descriptors; where few are allowed, fewer have to do.
    let limits = std::fs::read_to_string("/proc/self/limits").expect("Linux");
    let allowed = limits
        .lines()
        .find_map(|line| {
            line.strip_prefix("Max open files")?
                .split_whitespace()
                .next()
        })
        .expect("a limit");
    let many = allowed
        .parse()
        .map_or(2_000, |allowed: usize| (allowed / 4).min(2_000));
    // A few hundred at a time: the kernel's queue of those that are not accepted yet is short.
    let mut silent: Vec<TcpStream> = Vec::new();
    while silent.len() < many {
        let more = (many - silent.len()).min(400);
        silent.extend((0..more).map(|_| TcpStream::connect(server.webhook).expect("a connection")));
        let accepted = f64::from(u32::try_from(silent.len()).expect("few"));
        eventually("they are accepted", || {
            // On a busy machine the first are cut before the last are in.
            let cut = server.metric("outrigger_rejected_total{reason=\"handshake\"}");
            server.metric("outrigger_connections") + cut >= accepted
        });
    }
    server.assert_serving();
    drop(silent);
    assert_gauge(&server, "outrigger_connections", 0);
    server.assert_serving();
}

#[test]
fn a_thousand_at_once_are_all_answered() {
    let server = Server::start(&["--max-in-flight", "16"]);
    // Handshakes take their time; the requests come all at once.
    let config = client(server.trust());
    let connect = || -> Vec<Connection> {
        (0..125)
            .map(|_| connect(server.webhook, config.clone()).expect("a connection"))
            .collect()
    };
    let mut waiting: Vec<Connection> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(connect)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("connections"))
            .collect()
    });
    assert_eq!(waiting.len(), 1000);
    let mut sent_away = 0;
    while !waiting.is_empty() {
        for connection in &mut waiting {
            connection
                .write_all(&request(DOOR, &asking("u")))
                .expect("it goes");
        }
        waiting.retain_mut(|connection| {
            let answer = answer(connection).expect("an answer");
            let again = answer.status == 429;
            if again {
                assert!(answer.head.contains("retry-after: 1\r\n"));
                sent_away += 1;
            } else {
                assert_eq!(
                    (answer.status, &answer.response()["patchType"]),
                    (200, &json!("JSONPatch"))
                );
            }
            again
        });
    }
    let injected = "outrigger_admission_requests_total{webhook=\"annotated\",verdict=\"injected\"}";
    assert!((server.metric(injected) - 1000.0).abs() < f64::EPSILON);
    if sent_away > 0 {
        server.assert_rejected("too-many-requests", sent_away);
    }
    assert_gauge(&server, "outrigger_requests_in_flight", 0);
}

#[test]
fn a_pod_that_asks_for_a_thousand_helpers_is_answered_in_time() {
    let server = Server::start(&[]);
    let asks: Map<String, Value> = (0..1000)
        .map(|n| {
            let key = format!("adapter.outrigger.dev/redis-metrics.{n}");
            (key, json!(format!("{{port: {}}}", 2000 + n)))
        })
        .collect();
    let body = review("u", &pod(&Value::Object(asks))).to_string();
    let started = Instant::now();
    let answer = server.post(DOOR, body.as_bytes());
    assert_eq!(
        (answer.status, &answer.response()["uid"]),
        (200, &json!("u"))
    );
    // As long as an API server waits, with these builds' slowness.
    let elapsed = started.elapsed();
    assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
    server.assert_serving();
}

#[test]
fn what_a_pod_claims_is_no_label_of_a_metric() {
    let server = Server::start(&[]);
    for n in 0..3 {
        let status = format!("{{\"version\":1,\"instances\":{{\"claimed-{n}\":{{}}}}}}");
        let pod = pod(
            &json!({"outrigger.dev/status": status, format!("sidecar.outrigger.dev/asked-{n}"): ""}),
        );
        let answer = server.post(DOOR, review("u", &pod).to_string().as_bytes());
        assert_eq!(answer.status, 200);
    }
    let metrics = server.get("/metrics").text();
    let made_up: Vec<&str> = metrics
        .lines()
        .filter(|line| line.contains("claimed-") || line.contains("asked-"))
        .collect();
    assert_eq!(made_up, Vec::<&str>::new());
}
