//! The pair that the job writes, in the hands of rustls and of OpenSSL.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use tempfile::{TempDir, tempdir};

use crate::support::program;

async fn run(directory: &Path, options: &[&str]) -> Output {
    let mut command = program();
    command.arg("self-signed").arg("--directory").arg(directory);
    command.args(options).output().await.expect("it runs")
}

/// A directory with a pair for these names.
async fn pair(options: &[&str]) -> TempDir {
    let directory = tempdir().expect("a temporary directory");
    let output = run(directory.path(), options).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    directory
}

fn openssl(directory: &Path, arguments: &[&str]) -> Output {
    Command::new("openssl")
        .args(arguments)
        .current_dir(directory)
        .output()
        .expect("openssl runs")
}

/// A handshake between a server with the pair and a client that trusts the certificate.
fn handshake(directory: &Path, name: &str) -> Result<(), rustls::Error> {
    let certificate =
        CertificateDer::from_pem_file(directory.join("tls.crt")).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(directory.join("tls.key")).expect("a key");
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("an anchor");
    let provider = Arc::new(ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = ClientConnection::new(Arc::new(client), name)?;
    let mut server = ServerConnection::new(Arc::new(server))?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("memory");
        }
        read(&wire, |from| server.read_tls(from));
        server.process_new_packets()?;
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).expect("memory");
        }
        read(&wire, |from| client.read_tls(from));
        client.process_new_packets()?;
    }
    Ok(())
}

fn read(mut wire: &[u8], mut into: impl FnMut(&mut dyn Read) -> std::io::Result<usize>) {
    while !wire.is_empty() {
        into(&mut wire).expect("memory");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_accept_the_certificate_for_its_names_and_addresses_alone() {
    let names = "shop.example.org,*.wild.example.org,localhost,127.0.0.1,fd00::1";
    let directory = pair(&["--name", names, "--name", "shop.svc"]).await;
    for name in [
        "shop.example.org",
        "SHOP.example.org",
        "a.wild.example.org",
        "localhost",
        "127.0.0.1",
        "fd00::1",
        "shop.svc",
    ] {
        assert_eq!(handshake(directory.path(), name), Ok(()), "{name}");
    }
    for name in ["example.org", "wild.example.org", "127.0.0.2", "fd00::2"] {
        assert!(handshake(directory.path(), name).is_err(), "{name}");
    }
    let verify = |how: &[&str]| {
        let strict = [
            "verify",
            "-x509_strict",
            "-purpose",
            "sslserver",
            "-CAfile",
            "tls.crt",
        ];
        openssl(directory.path(), &[&strict, how, &["tls.crt"]].concat())
    };
    for how in [
        ["-verify_hostname", "shop.example.org"],
        ["-verify_hostname", "a.wild.example.org"],
        ["-verify_ip", "127.0.0.1"],
        ["-verify_ip", "fd00::1"],
    ] {
        let output = verify(&how);
        assert!(output.status.success(), "{how:?}: {output:?}");
    }
    assert!(
        !verify(&["-verify_hostname", "example.org"])
            .status
            .success()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_the_certificates_and_readable_for_whom_it_was_said() {
    let mode = |directory: &TempDir, file| {
        let metadata = fs::metadata(directory.path().join(file)).expect("a file");
        metadata.permissions().mode() & 0o7777
    };
    let directory = pair(&["--name", "localhost"]).await;
    assert_eq!(mode(&directory, "tls.key"), 0o600);
    assert_eq!(mode(&directory, "tls.crt"), 0o644);
    let public = |arguments: &[&str]| {
        let output = openssl(directory.path(), arguments);
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    assert_eq!(
        public(&["pkey", "-in", "tls.key", "-pubout"]),
        public(&["x509", "-in", "tls.crt", "-noout", "-pubkey"])
    );

    // Whatever the process's mask.
    for mask in ["000", "077", "777"] {
        let directory = tempdir().expect("a temporary directory");
        let output = Command::new("sh")
            .args(["-c", r#"umask "$0" && exec "$@""#, mask])
            .arg(program().as_std().get_program())
            .args(["self-signed", "--name", "localhost", "--key-mode", "0640"])
            .arg("--directory")
            .arg(directory.path())
            .output();
        assert!(output.expect("it runs").status.success());
        assert_eq!(mode(&directory, "tls.key"), 0o640, "{mask}");
        assert_eq!(mode(&directory, "tls.crt"), 0o644, "{mask}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_replaces_both_and_nobody_sees_half_a_file() {
    let directory = pair(&["--name", "localhost", "--key-mode", "0644"]).await;
    let path = |file: &str| directory.path().join(file);
    let state = |file| {
        let text = fs::read_to_string(path(file)).expect("a file");
        (fs::metadata(path(file)).expect("a file").ino(), text)
    };
    let before = (state("tls.key"), state("tls.crt"));
    fs::hard_link(path("tls.key"), path("kept")).expect("a link");
    // What a run that was killed leaves behind.
    let mut rest = fs::File::create(path(".tls.key.new")).expect("a file");
    rest.write_all(b"half").expect("a file");

    let (files, stop) = (["tls.key", "tls.crt"].map(path), Arc::new(()));
    let running = Arc::downgrade(&stop);
    let reader = std::thread::spawn(move || {
        let mut reads = 0;
        while running.strong_count() > 0 {
            for file in &files {
                let text = fs::read_to_string(file).expect("a file at any time");
                let (first, last) = (text.lines().next(), text.lines().last());
                assert!(
                    first.is_some_and(|line| line.starts_with("-----BEGIN ")),
                    "{text}"
                );
                assert!(
                    last.is_some_and(|line| line.starts_with("-----END ")),
                    "{text}"
                );
                reads += 1;
            }
        }
        reads
    });
    for _ in 0..20 {
        assert!(
            run(directory.path(), &["--name", "localhost"])
                .await
                .status
                .success()
        );
    }
    drop(stop);
    println!("{} reads", reader.join().expect("whole files"));

    let after = (state("tls.key"), state("tls.crt"));
    assert_ne!(before.0, after.0);
    assert_ne!(before.1, after.1);
    assert_eq!(
        fs::read_to_string(path("kept")).expect("a file"),
        before.0.1
    );
    let mode = fs::metadata(path("tls.key"))
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
    let entries = fs::read_dir(directory.path()).expect("a directory");
    let names: BTreeSet<_> = entries
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(names, ["kept", "tls.crt", "tls.key"].map(Into::into).into());
    assert_eq!(handshake(directory.path(), "localhost"), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_valid_from_an_hour_ago_until_when_it_was_said() {
    let directory = pair(&["--name", "localhost", "--validity", "2h"]).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("a time").as_secs();
    for (at, valid) in [
        (now - 3700, false),
        (now - 3500, true),
        (now + 7100, true),
        (now + 7300, false),
    ] {
        let at = at.to_string();
        let output = openssl(
            directory.path(),
            &["verify", "-attime", &at, "-CAfile", "tls.crt", "tls.crt"],
        );
        assert_eq!(output.status.success(), valid, "{at}: {output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_ends_it_with_a_sentence_and_no_file() {
    let directory = tempdir().expect("a temporary directory");
    let file = directory.path().join("file");
    fs::write(&file, "").expect("a file");
    let (missing, long) = (directory.path().join("missing"), "a".repeat(64));
    let here = directory.path();
    let name = ["--name", "localhost"];
    let no_directory = |path: &Path| {
        format!(
            "error: `--directory` is `{}`: there is no such directory",
            path.display()
        )
    };
    let no_name = |name: &str| {
        format!(
            "error: invalid value '{name}' for '--name <NAME>': expected a DNS name or an IP address, not `{name}`"
        )
    };
    let cases: [(&Path, &[&str], i32, String); 15] = [
        (&missing, &name, 1, no_directory(&missing)),
        (&file, &name, 1, no_directory(&file)),
        (Path::new("/proc"), &name, 1, "error: cannot write `/proc/tls.key`".to_owned()),
        (here, &[], 2, "error: the following required arguments were not provided:".to_owned()),
        (here, &["--name", "sh\u{f6}p.org"], 2, no_name("sh\u{f6}p.org")),
        (here, &["--name", "two words"], 2, no_name("two words")),
        (here, &["--name", "a,,b"], 2, no_name("")),
        (here, &["--name", ""], 2, no_name("")),
        (here, &["--name", "https://shop.org"], 2, no_name("https://shop.org")),
        (here, &["--name", "shop.org:443"], 2, no_name("shop.org:443")),
        (here, &["--name", "10.0.0.0/8"], 2, no_name("10.0.0.0/8")),
        (here, &["--name", &long], 2, no_name(&long)),
        (
            here,
            &["--name", "localhost", "--key-mode", "0x1"],
            2,
            "error: invalid value '0x1' for '--key-mode <MODE>': expected a mode such as 0600 or 0640, not `0x1`".to_owned(),
        ),
        (
            here,
            &["--name", "localhost", "--key-mode", "4755"],
            2,
            "error: invalid value '4755' for '--key-mode <MODE>': expected a mode such as 0600 or 0640, not `4755`".to_owned(),
        ),
        (
            here,
            &["--name", "localhost", "--validity", "1d"],
            2,
            "error: invalid value '1d' for '--validity <DURATION>': expected a duration above zero such as 500ms, 2s or 1h30m, not `1d`".to_owned(),
        ),
    ];
    let mut wrong = Vec::new();
    for (directory, options, code, sentence) in cases {
        let output = run(directory, options).await;
        let said = String::from_utf8_lossy(&output.stderr);
        let first = said
            .lines()
            .find(|line| line.starts_with("error"))
            .unwrap_or(&said);
        if output.status.code() != Some(code) || !first.starts_with(&sentence) {
            wrong.push(format!("{options:?}: {:?} {first}", output.status.code()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(fs::read_dir(here).expect("a directory").count(), 1);
}
