//! A key pair and a certificate for it, signed by itself: so that a first try of TLS needs no Secret. Runs to completion.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::pki_types::DnsName;
use time::OffsetDateTime;

use crate::settings;

/// What a Secret of type kubernetes.io/tls calls them.
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
/// Clocks differ.
const BEFORE: Duration = Duration::from_hours(1);

/// Write a key pair and a self-signed certificate into a directory, and end
///
/// `tls.crt` and `tls.key`, as in a Secret of type kubernetes.io/tls. Each run makes new ones. Nobody can tell such a certificate
/// from an impostor's: it is for trying things out, and for links on which encryption is all that is asked.
#[derive(Debug, Args)]
pub(crate) struct SelfSignedArgs {
    /// The directory, which must be there
    #[arg(long, value_name = "DIR", env = "OUTRIGGER_DIRECTORY")]
    directory: PathBuf,
    /// Names and IP addresses that the certificate is for
    #[arg(
        long = "name",
        value_name = "NAME",
        required = true,
        value_delimiter = ',',
        value_parser = name,
        env = "OUTRIGGER_NAMES"
    )]
    names: Vec<String>,
    /// How long it is valid
    #[arg(long, value_name = "DURATION", default_value = "8760h", value_parser = settings::duration, env = "OUTRIGGER_VALIDITY")]
    validity: Duration,
    /// Who may read the key, as chmod has it
    #[arg(long, value_name = "MODE", default_value = "0600", value_parser = mode, env = "OUTRIGGER_KEY_MODE")]
    key_mode: u32,
}

/// As certificates have it; a wildcard may stand for the first label.
fn name(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("*.").unwrap_or(text);
    if text.parse::<IpAddr>().is_ok() || DnsName::try_from(host).is_ok() {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "expected a DNS name or an IP address, not `{text}`"
        ))
    }
}

fn mode(text: &str) -> Result<u32, String> {
    let parsed = u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777);
    parsed.ok_or_else(|| format!("expected a mode such as 0600 or 0640, not `{text}`"))
}

/// Makes and writes both.
pub(crate) fn run(args: &SelfSignedArgs) -> anyhow::Result<()> {
    let SelfSignedArgs {
        directory,
        names,
        validity,
        key_mode,
    } = args;
    ensure!(
        directory.is_dir(),
        "`--directory` is `{}`: there is no such directory",
        directory.display()
    );
    let mut params = CertificateParams::new(names.clone()).with_context(|| {
        format!(
            "`--name` is `{}`: expected DNS names and IP addresses",
            names.join(",")
        )
    })?;
    // Common names are out of use, but an empty subject irritates some readers.
    params
        .distinguished_name
        .push(DnType::CommonName, "self-signed");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let now = OffsetDateTime::now_utc();
    params.not_before = now - BEFORE;
    params.not_after = now + *validity;
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    // The key first: who finds a certificate finds its key.
    put(directory, KEY, &key.serialize_pem(), *key_mode)?;
    put(directory, CERTIFICATE, &certificate.pem(), 0o644)?;
    tracing::info!(directory = %directory.display(), names = names.join(","), not_after = %params.not_after, "certificate written");
    Ok(())
}

/// All of it or nothing, under its name.
fn put(directory: &Path, name: &str, text: &str, mode: u32) -> anyhow::Result<()> {
    let (path, new) = (directory.join(name), directory.join(format!(".{name}.new")));
    let write = || {
        let _ = fs::remove_file(&new);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&new)?;
        file.write_all(text.as_bytes())?;
        // The mode that was asked for, whatever the process's mask.
        fs::set_permissions(&new, std::os::unix::fs::PermissionsExt::from_mode(mode))?;
        fs::rename(&new, &path)
    };
    write().with_context(|| format!("cannot write `{}`", path.display()))
}
