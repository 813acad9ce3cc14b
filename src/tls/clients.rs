//! Who may connect: with `--client-ca`, only clients that show a certificate of that CA under one of the given names.
//!
//! An API server shows one if its `AdmissionConfiguration` names a kubeconfig for this webhook. A cluster's CA signs for kubelets and
//! users, too, hence the names: a common name, or a DNS name among the alternative ones.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{Error, files};

/// Who may connect.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ClientArgs {
    /// Let only clients in that show a certificate of this CA (PEM), read again when it changes
    #[arg(long, value_name = "FILE", requires = "client_name")]
    client_ca: Option<PathBuf>,
    /// Common name or DNS name that such a certificate must have; repeatable
    #[arg(long, value_name = "NAME", requires = "client_ca")]
    client_name: Vec<String>,
}

/// The CA's file, its last good content, and the names.
#[derive(Debug)]
pub(super) struct Clients {
    path: PathBuf,
    names: Arc<[String]>,
    pem: Vec<u8>,
}

impl Clients {
    pub(super) fn new(args: &ClientArgs) -> Option<Self> {
        Some(Self {
            path: args.client_ca.clone()?,
            names: args.client_name.clone().into(),
            pem: Vec::new(),
        })
    }

    pub(super) fn refresh(&mut self) -> Result<bool, Error> {
        let pem = files::read(&self.path)?;
        if pem == self.pem {
            return Ok(false);
        }
        self.roots(&pem)?;
        self.pem = pem;
        Ok(true)
    }

    pub(super) fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, Error> {
        let roots = self.roots(&self.pem)?;
        let chain = WebPkiClientVerifier::builder_with_provider(roots.into(), super::provider())
            .build()
            .map_err(|error| self.content(error.to_string()))?;
        Ok(Arc::new(Named {
            chain,
            names: self.names.clone(),
        }))
    }

    fn roots(&self, pem: &[u8]) -> Result<RootCertStore, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate =
                certificate.map_err(|error| self.content(files::pem_sentence(&error)))?;
            roots
                .add(certificate)
                .map_err(|error| self.content(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(self.content("expected a certificate in PEM, found none".to_owned()));
        }
        Ok(roots)
    }

    fn content(&self, problem: String) -> Error {
        Error::Content {
            path: self.path.display().to_string(),
            problem,
        }
    }
}

/// The chain as webpki judges it, and then the name.
#[derive(Debug)]
struct Named {
    chain: Arc<dyn ClientCertVerifier>,
    names: Arc<[String]>,
}

impl Named {
    fn knows(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
            return false;
        };
        let known = |name: &str| self.names.iter().any(|known| known == name);
        let common = certificate
            .subject()
            .iter_common_name()
            .any(|name| name.as_str().is_ok_and(known));
        let alternative = certificate
            .subject_alternative_name()
            .ok()
            .flatten()
            .is_some_and(|names| {
                names
                    .value
                    .general_names
                    .iter()
                    .any(|name| matches!(name, GeneralName::DNSName(name) if known(name)))
            });
        common || alternative
    }
}

impl ClientCertVerifier for Named {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self
            .chain
            .verify_client_cert(end_entity, intermediates, now)?;
        if self.knows(end_entity) {
            Ok(verified)
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
