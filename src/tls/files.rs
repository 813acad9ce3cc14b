//! Certificate and key from files, compared by content, so that the kubelet's `..data` swap is seen whichever link it turns.

use std::path::PathBuf;

use clap::Args;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::{Error, Identity};

/// Larger than any chain; a file of this size is not read.
const MAX_PEM: usize = 256 * 1024;

/// Where the pair is.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct FileArgs {
    /// Certificate chain in PEM, the server's own first. For `--tls files`
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key in PEM. For `--tls files`
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

impl FileArgs {
    pub(super) fn given(&self) -> bool {
        self.tls_cert.is_some() || self.tls_key.is_some()
    }
}

/// The two files, and what they held when they last were a pair.
#[derive(Debug)]
pub(super) struct Files {
    certificate: PathBuf,
    key: PathBuf,
    pair: (Vec<u8>, Vec<u8>),
}

impl Files {
    pub(super) fn new(args: &FileArgs) -> Result<Self, Error> {
        match (&args.tls_cert, &args.tls_key) {
            (Some(certificate), Some(key)) => Ok(Self {
                certificate: certificate.clone(),
                key: key.clone(),
                pair: (Vec::new(), Vec::new()),
            }),
            _ => Err(Error::Arguments(
                "`--tls files` needs `--tls-cert` and `--tls-key`".to_owned(),
            )),
        }
    }

    /// Reads both again; true if they are another pair than before. Half a pair changes nothing.
    pub(super) fn refresh(&mut self) -> Result<bool, Error> {
        let pair = (read(&self.certificate)?, read(&self.key)?);
        if pair == self.pair {
            return Ok(false);
        }
        let Identity { chain, key } = self.parse(&pair)?;
        // Refuses a key that belongs to another certificate.
        CertifiedKey::from_der(chain, key, &super::provider()).map_err(|error| Error::Content {
            path: format!("{} and {}", self.certificate.display(), self.key.display()),
            problem: error.to_string(),
        })?;
        self.pair = pair;
        Ok(true)
    }

    pub(super) fn identity(&self) -> Result<Identity, Error> {
        self.parse(&self.pair)
    }

    fn parse(&self, (certificate, key): &(Vec<u8>, Vec<u8>)) -> Result<Identity, Error> {
        let content = |path: &PathBuf, problem: String| Error::Content {
            path: path.display().to_string(),
            problem,
        };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<_, _>>()
            .map_err(|error| content(&self.certificate, pem_sentence(&error)))?;
        if chain.is_empty() {
            return Err(content(
                &self.certificate,
                "expected a certificate in PEM, found none".to_owned(),
            ));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| {
            content(
                &self.key,
                match error {
                    pem::Error::NoItemsFound => {
                        "expected a private key in PEM, found none".to_owned()
                    }
                    other => pem_sentence(&other),
                },
            )
        })?;
        Ok(Identity { chain, key })
    }
}

/// Reads a PEM file of a sensible size.
pub(super) fn read(path: &PathBuf) -> Result<Vec<u8>, Error> {
    let bytes = std::fs::read(path).map_err(|source| Error::File {
        path: path.display().to_string(),
        source,
    })?;
    if bytes.len() > MAX_PEM {
        return Err(Error::Content {
            path: path.display().to_string(),
            problem: format!("{} bytes are no certificate", bytes.len()),
        });
    }
    Ok(bytes)
}

/// What is wrong with a PEM text, without its bytes.
pub(super) fn pem_sentence(error: &pem::Error) -> String {
    let what = match error {
        pem::Error::MissingSectionEnd { .. } => "a section does not end: is the file cut short?",
        pem::Error::IllegalSectionStart { .. } => "a section does not start as it should",
        pem::Error::Base64Decode(_) => "a section is not base64",
        _ => "it cannot be read",
    };
    format!("not PEM: {what}")
}
