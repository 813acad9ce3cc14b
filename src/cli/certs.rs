//! `outrigger certs`: a CA and a certificate to develop with.

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::Context as _;
use clap::Args;

use super::output::{Ending, Printer};
use crate::tls::issue::{Ca, LEAF_LIFE, check_name};
use crate::tls::write;

/// Write a CA and a certificate for development
///
/// Writes `ca.pem`, `ca-key.pem`, `tls.crt` and `tls.key`, for `outrigger serve --tls files`. A CA that is there already is used again.
/// Not for production: the CA's key lies beside the certificate.
#[derive(Debug, Args)]
pub(super) struct CertsArgs {
    /// DNS names or IP addresses of the server
    #[arg(value_name = "HOST", default_value = "localhost")]
    hosts: Vec<String>,
    /// Where to write
    #[arg(short, long, value_name = "DIR", default_value = "certs/dev")]
    directory: PathBuf,
}

pub(super) fn run(args: &CertsArgs, printer: &mut Printer) -> anyhow::Result<Ending> {
    let CertsArgs { hosts, directory } = args;
    let now = SystemTime::now();
    if let Some(error) = hosts.iter().find_map(|host| check_name(host).err()) {
        printer.error(&error.to_string());
        return Ok(Ending::WrongInput);
    }
    let ca = Ca::keep(directory, now)?;
    let leaf = ca.sign(hosts, now, LEAF_LIFE)?;
    write(&directory.join("tls.key"), &leaf.key.serialize_pem(), 0o600)?;
    write(&directory.join("tls.crt"), &leaf.pem, 0o644)?;
    let directory = directory.display();
    printer
        .data(&format!(
            "{directory}/ca.pem\n{directory}/tls.crt\n{directory}/tls.key\n"
        ))
        .context("standard output")?;
    printer.note(&format!(
        "serve with them: outrigger serve --tls files --tls-cert {directory}/tls.crt --tls-key {directory}/tls.key"
    ));
    Ok(Ending::Done)
}
