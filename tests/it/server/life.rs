//! From the start to the last answer: signals, draining, and what keeps a server from starting.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::support::load::Load;
use crate::support::server::{Answer, Connection, Server, answer, asking, eventually, request};
use crate::support::{assert_run, outrigger};

/// How long idle connections are kept once a server drains, and as much again for a machine that is busy.
const LINGER: Duration = Duration::from_secs(4);

fn start(shutdown_delay: &str, arguments: &[&str]) -> Server {
    let fixed = ["--log-format", "json", "--shutdown-delay", shutdown_delay];
    Server::start_with(&[&fixed, arguments].concat())
}

/// Waits for the sentence that the process ends with.
#[track_caller]
fn last_words(server: &Server, expected: &str) {
    eventually(expected, || server.log().lines().last() == Some(expected));
}

/// A connection on which half of a review was sent; the rest is returned.
fn half_sent(server: &Server) -> (Connection, Vec<u8>) {
    let mut first = request("/mutate/annotated?timeout=10s", &asking("u"));
    let rest = first.split_off(first.len() - 40);
    let mut connection = server.connect();
    connection.write_all(&first).expect("the first half goes");
    eventually("a request is in flight", || {
        server.metric("outrigger_requests_in_flight") > 0.0
    });
    (connection, rest)
}

#[track_caller]
fn assert_patched(answer: &Answer) {
    assert_eq!(answer.status, 200);
    assert!(answer.response()["patch"].is_string());
}

#[test]
fn sigterm_under_load_loses_no_request() {
    let mut server = start("2s", &[]);
    let load = Load::start(server.webhook, &server.trust(), 4, Duration::ZERO);
    eventually("the load is on", || load.answered() > 50);
    let signalled = Instant::now();
    server.signal("TERM");
    eventually("the server is not ready", || {
        server.get("/readyz").status == 503
    });
    let before = load.answered();
    eventually("requests are answered all the same", || {
        load.answered() > before + 20
    });
    let report = server.get("/readyz");
    assert_eq!(report.status, 503);
    let expected = "[-]shutdown failed: the server is stopping\nreadyz check failed\n";
    assert!(report.text().ends_with(expected), "{}", report.text());
    assert_eq!(server.get("/livez").status, 200);
    assert_eq!(server.wait(), 0);
    let took = signalled.elapsed();
    let delay = Duration::from_secs(2);
    assert!(delay <= took && took < delay + LINGER, "{took:?}");
    assert!(load.outlast() > before + 20);
}

#[test]
fn sigint_ends_without_delay() {
    let mut server = start("60s", &[]);
    let signalled = Instant::now();
    server.signal("INT");
    assert_eq!(server.wait(), 0);
    assert!(signalled.elapsed() < LINGER, "{:?}", signalled.elapsed());
}

#[test]
fn idle_connections_do_not_hold_up_the_end() {
    let mut server = start("0s", &[]);
    let (mut used, unused) = (server.connect(), server.connect());
    used.write_all(&request("/mutate/annotated", &asking("u")))
        .expect("the request goes");
    assert_patched(&answer(&mut used).expect("an answer"));
    let signalled = Instant::now();
    server.signal("TERM");
    assert_eq!(server.wait(), 0);
    assert!(signalled.elapsed() < LINGER, "{:?}", signalled.elapsed());
    for mut connection in [used, unused] {
        let mut rest = Vec::new();
        // Closed as TLS wants it: a reader that finds no more can be sure that nothing was cut off.
        connection.read_to_end(&mut rest).expect("a clean end");
        assert_eq!(rest, b"");
    }
}

/// A port scanner, or a client that connects ahead of need.
#[test]
fn a_connection_without_a_handshake_does_not_hold_up_the_end() {
    let mut server = start("0s", &[]);
    let _silent = TcpStream::connect(server.webhook).expect("the port is open");
    eventually("the connection is accepted", || {
        server.metric("outrigger_connections") > 0.0
    });
    let signalled = Instant::now();
    server.signal("TERM");
    assert_eq!(server.wait(), 0);
    assert!(signalled.elapsed() < LINGER, "{:?}", signalled.elapsed());
}

#[test]
fn a_request_in_flight_is_answered_when_its_rest_comes() {
    let mut server = start("0s", &[]);
    let (mut connection, rest) = half_sent(&server);
    server.signal("TERM");
    eventually("nobody else is let in", || {
        TcpStream::connect(server.webhook).is_err()
    });
    connection.write_all(&rest).expect("the rest goes");
    let answer = answer(&mut connection).expect("an answer");
    assert_patched(&answer);
    assert!(answer.head.contains("connection: close"), "{}", answer.head);
    assert_eq!(server.wait(), 0);
}

#[test]
fn a_drain_that_takes_too_long_is_an_error() {
    let mut server = start("0s", &["--drain-timeout", "2s"]);
    let _never_ends = half_sent(&server);
    server.signal("TERM");
    assert_eq!(server.wait(), 2);
    last_words(
        &server,
        "error: 1 request in flight: `--drain-timeout` 2s was too short",
    );
}

/// The timeout is for requests in flight; where there are none, nothing can take too long.
#[test]
fn a_short_drain_timeout_is_no_error_where_nothing_is_in_flight() {
    let mut server = start("0s", &["--drain-timeout", "100ms"]);
    server.signal("TERM");
    assert_eq!(server.wait(), 0, "{}", server.log());
}

#[test]
fn a_second_signal_aborts() {
    for second in ["TERM", "INT"] {
        let mut server = start("60s", &[]);
        server.signal("TERM");
        server.line("stopping");
        let signalled = Instant::now();
        server.signal(second);
        assert_eq!(server.wait(), 2);
        assert!(signalled.elapsed() < LINGER, "{:?}", signalled.elapsed());
        last_words(
            &server,
            &format!("error: 0 requests in flight: aborted by a second signal, SIG{second}"),
        );
    }
}

#[test]
fn a_process_that_was_stopped_goes_on() {
    let server = Server::start(&[]);
    let mut connection = server.connect();
    let state = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.id()));
        let stat = stat.expect("the process is there");
        stat.rsplit(") ").next().unwrap_or_default().to_owned()
    };
    server.signal("STOP");
    eventually("the process is stopped", || state().starts_with('T'));
    connection
        .write_all(&request("/mutate/annotated", &asking("u")))
        .expect("the kernel takes it");
    server.signal("CONT");
    assert_patched(&answer(&mut connection).expect("an answer"));
    assert_patched(&server.post("/mutate/annotated", &asking("u")));
    assert_eq!(server.get("/readyz").text(), "ok\n");
}

#[test]
fn a_port_that_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for (flag, other) in [
        ("--listen", "--admin-listen"),
        ("--admin-listen", "--listen"),
    ] {
        let run = outrigger(&["serve", flag, &address, other, "127.0.0.1:0"]);
        let sentence = format!("error: {flag} {address}: Address already in use (os error 98)\n");
        assert_run(&run, 2, "", &sentence);
    }
}

#[test]
fn tls_flags_that_do_not_go_together() {
    const USAGE: &str = "\n\nUsage: outrigger serve";
    for (arguments, sentence) in [
        (
            &["--tls", "files"][..],
            "error: `--tls files` needs `--tls-cert` and `--tls-key`\n",
        ),
        (
            &["--tls", "files", "--tls-name", "a"],
            "error: `--state-dir` and `--tls-name` go with `--tls self`\n",
        ),
        (
            &["--tls-cert", "c", "--tls-key", "k"],
            "error: `--tls-cert` and `--tls-key` go with `--tls files`\n",
        ),
    ] {
        assert_run(&serve(arguments), 2, "", sentence);
    }
    for (arguments, missing) in [
        (&["--tls-cert", "c"][..], "--tls-key <FILE>"),
        (&["--tls-key", "k"], "--tls-cert <FILE>"),
        (&["--client-ca", "c"], "--client-name <NAME>"),
        (&["--client-name", "n"], "--client-ca <FILE>"),
    ] {
        let run = serve(arguments);
        let expected = format!(
            "error: the following required arguments were not provided:\n  {missing}{USAGE}"
        );
        assert_eq!(run.code, 2);
        assert!(run.stderr.starts_with(&expected), "{}", run.stderr);
    }
}

#[test]
fn tls_files_that_are_not_there() {
    let run = serve(&["--tls", "files", "--tls-cert", "no/c", "--tls-key", "no/k"]);
    let sentence = "error: no/c: No such file or directory (os error 2)\n";
    assert_run(&run, 2, "", sentence);
}

#[test]
fn durations() {
    for flag in ["--shutdown-delay", "--drain-timeout"] {
        for wrong in ["", "5", "s", "2h", "61m", "5 s", "1e3m", "infs", "NaNs"] {
            let sentence = format!(
                "error: invalid value '{wrong}' for '{flag} <DURATION>': \
                 expected a duration such as `10s`, `500ms` or `2m`, at most an hour\n\n\
                 For more information, try '--help'.\n"
            );
            assert_run(&serve(&[&format!("{flag}={wrong}")]), 2, "", &sentence);
        }
    }
}

fn serve(arguments: &[&str]) -> crate::support::Run {
    let ports = [
        "serve",
        "--listen=127.0.0.1:0",
        "--admin-listen=127.0.0.1:0",
    ];
    outrigger(&[&ports, arguments].concat())
}
