//! `outrigger certs`.

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::support::{Run, assert_run, outrigger};

/// Runs the verb into `directory`.
fn certs(directory: &Path, hosts: &[&str]) -> Run {
    let directory = directory.display().to_string();
    outrigger(&[&["certs", "--directory", &directory], hosts].concat())
}

fn read(directory: &Path, name: &str) -> String {
    std::fs::read_to_string(directory.join(name)).expect("the file is there")
}

/// The files of a directory with their modes, by name.
fn files(directory: &Path) -> Vec<(String, u32)> {
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .expect("the directory is there")
        .map(|entry| {
            let entry = entry.expect("an entry");
            let mode = entry.metadata().expect("metadata").permissions().mode() & 0o777;
            (entry.file_name().into_string().expect("UTF-8"), mode)
        })
        .collect();
    files.sort();
    files
}

/// The names in `tls.crt`, as people write them.
fn names(directory: &Path) -> Vec<String> {
    let pem = read(directory, "tls.crt");
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM");
    let (_, certificate) = X509Certificate::from_der(&der).expect("a certificate");
    let names = certificate.subject_alternative_name().expect("readable");
    names
        .expect("there are names")
        .value
        .general_names
        .iter()
        .map(|name| match name {
            GeneralName::DNSName(name) => (*name).to_owned(),
            GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
                Ok(four) => IpAddr::from(four).to_string(),
                Err(_) => IpAddr::from(<[u8; 16]>::try_from(*bytes).expect("16")).to_string(),
            },
            other => panic!("{other}"),
        })
        .collect()
}

#[test]
fn what_is_written_and_what_is_said() {
    let parent = tempfile::tempdir().expect("a directory");
    let directory = parent.path().join("certs/dev");
    let path = directory.display();
    assert_run(
        &certs(&directory, &[]),
        0,
        &format!("{path}/ca.pem\n{path}/tls.crt\n{path}/tls.key\n"),
        &format!(
            "serve with them: outrigger serve --tls files --tls-cert {path}/tls.crt --tls-key {path}/tls.key\n"
        ),
    );
    let expected = [
        ("ca-key.pem", 0o600),
        ("ca.pem", 0o644),
        ("tls.crt", 0o644),
        ("tls.key", 0o600),
    ];
    assert_eq!(
        files(&directory),
        expected.map(|(name, mode)| (name.to_owned(), mode))
    );
    assert_eq!(names(&directory), ["localhost"]);
}

#[test]
fn a_second_run_uses_the_same_ca_for_another_certificate() {
    let directory = tempfile::tempdir().expect("a directory");
    let run = || {
        assert_eq!(certs(directory.path(), &[]).code, 0);
        ["ca.pem", "ca-key.pem", "tls.crt", "tls.key"].map(|name| read(directory.path(), name))
    };
    let (first, second) = (run(), run());
    assert_eq!(first[..2], second[..2]);
    assert_ne!(first[2], second[2]);
    assert_ne!(first[3], second[3]);
}

#[test]
fn hosts_are_names_and_addresses() {
    let directory = tempfile::tempdir().expect("a directory");
    let hosts = [
        "outrigger.shop.svc",
        "*.shop.test",
        "192.0.2.7",
        "2001:db8::7",
    ];
    assert_eq!(certs(directory.path(), &hosts).code, 0);
    assert_eq!(names(directory.path()), hosts);
}

/// Nothing is written for a host that no client could ask for, not even the CA.
#[test]
fn a_host_that_is_none() {
    for host in [
        "bücher.example",
        "two words",
        "https://localhost",
        "a:80",
        "",
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        let run = certs(directory.path(), &["localhost", host]);
        let sentence = format!("error: `{host}`: expected a DNS name or an IP address\n");
        assert_run(&run, 1, "", &sentence);
        assert_eq!(files(directory.path()), []);
    }
}

/// What lies about from a run that was cut short makes no key readable.
#[test]
fn a_left_over_file_does_not_loosen_a_mode() {
    let directory = tempfile::tempdir().expect("a directory");
    for name in ["ca-key.pem.new", "tls.key.new"] {
        let file = directory.path().join(name);
        std::fs::write(&file, "").expect("a file");
        let loose = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(&file, loose).expect("a mode");
    }
    assert_eq!(certs(directory.path(), &[]).code, 0);
    let keys: Vec<_> = files(directory.path())
        .into_iter()
        .filter(|(name, _)| name.contains("key"))
        .collect();
    let expected = [
        ("ca-key.pem".to_owned(), 0o600),
        ("tls.key".to_owned(), 0o600),
    ];
    assert_eq!(keys, expected);
}

#[test]
fn a_directory_that_cannot_be_made() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let run = certs(&file.path().join("certs"), &[]);
    let sentence = format!(
        "error: {}/certs: Not a directory (os error 20)\n",
        file.path().display()
    );
    assert_run(&run, 2, "", &sentence);
}
