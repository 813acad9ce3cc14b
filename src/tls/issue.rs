//! Issuing certificates: a CA, and leaves under it. Nothing here knows what time it is.
//!
//! ECDSA P-256, random 128-bit serials, an hour of backdating for clocks that differ, `serverAuth` only, and no leaf outlives its CA.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Error, Identity};

const DAY: Duration = Duration::from_hours(24);
/// Clients pin the CA by hand, so it lives long.
pub(super) const CA_LIFE: Duration = DAY.saturating_mul(3650);
/// A leaf lives in memory only and costs nothing to renew.
pub(crate) const LEAF_LIFE: Duration = DAY.saturating_mul(30);
/// Clocks differ.
const BACKDATING: Duration = Duration::from_hours(1);

/// A CA that can sign.
#[derive(Debug)]
pub(crate) struct Ca {
    pub(crate) pem: String,
    /// When it was issued; its certificate says an hour earlier.
    pub(crate) since: SystemTime,
    pub(crate) until: SystemTime,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
#[derive(Debug)]
pub(crate) struct Leaf {
    pub(crate) pem: String,
    pub(crate) der: CertificateDer<'static>,
    pub(crate) key: KeyPair,
    since: SystemTime,
    pub(super) until: SystemTime,
    /// The CA that signed it, in PEM, and that one's end.
    pub(super) issuer: String,
    pub(super) issuer_until: SystemTime,
}

impl Leaf {
    /// Two thirds of its life are over.
    pub(super) fn is_due(&self, now: SystemTime) -> bool {
        is_due(self.since, self.until, now)
    }

    /// Chain and key for a server.
    pub(super) fn identity(&self) -> Identity {
        Identity {
            chain: vec![self.der.clone()],
            key: PrivateKeyDer::Pkcs8(self.key.serialize_der().into()),
        }
    }
}

/// Whether two thirds of a life are over.
pub(super) fn is_due(since: SystemTime, until: SystemTime, now: SystemTime) -> bool {
    let life = until.duration_since(since).unwrap_or_default();
    now >= since + life * 2 / 3
}

impl Ca {
    /// A new CA.
    pub(crate) fn issue(now: SystemTime, life: Duration) -> Result<Self, Error> {
        let until = now + life;
        let mut params = params("outrigger CA", now, until)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            pem: certificate.pem(),
            since: now,
            until,
            issuer: Issuer::new(params, key),
        })
    }

    /// A CA out of a file.
    pub(crate) fn read(certificate: String, key: &str) -> Result<Self, Error> {
        let key = KeyPair::from_pem(key)?;
        let public = key.subject_public_key_info();
        let issuer = Issuer::from_ca_cert_pem(&certificate, key)?;
        let content = |problem: &str| Error::Content {
            path: "the CA".to_owned(),
            problem: problem.to_owned(),
        };
        let der = <CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(
            certificate.as_bytes(),
        )
        .map_err(|error| content(&error.to_string()))?;
        let (_, parsed) =
            X509Certificate::from_der(&der).map_err(|error| content(&error.to_string()))?;
        if parsed.public_key().raw != public {
            return Err(content("certificate and key are no pair"));
        }
        let validity = parsed.validity();
        Ok(Self {
            since: SystemTime::from(validity.not_before.to_datetime()) + BACKDATING,
            until: SystemTime::from(validity.not_after.to_datetime()),
            pem: certificate,
            issuer,
        })
    }

    /// The key, in PEM.
    pub(crate) fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A certificate for a server that is called `names`: DNS names and IP addresses.
    pub(crate) fn sign(
        &self,
        names: &[String],
        now: SystemTime,
        life: Duration,
    ) -> Result<Leaf, Error> {
        let until = (now + life).min(self.until);
        let mut params = params("outrigger", now, until)?;
        params.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Leaf {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            key,
            since: now,
            until,
            issuer: self.pem.clone(),
            issuer_until: self.until,
        })
    }
}

/// A name that a client can ask for: an IP address, or a DNS name, with or without a wildcard for its first label.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let host = name.strip_prefix("*.").unwrap_or(name);
    match rustls::pki_types::ServerName::try_from(host) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::Name(crate::text::excerpt(name, 60))),
    }
}

fn params(name: &str, now: SystemTime, until: SystemTime) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = OffsetDateTime::from(now - BACKDATING);
    params.not_after = OffsetDateTime::from(until);
    let mut serial = [0; 16];
    super::provider()
        .secure_random
        .fill(&mut serial)
        .map_err(|_| Error::Issue(rcgen::Error::RingUnspecified))?;
    // RFC 5280 §4.1.2.2: positive.
    serial[0] &= 0x7f;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

/// The end of a certificate in DER; `None` if it is no certificate.
pub(super) fn not_after(der: &[u8]) -> Option<SystemTime> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(SystemTime::from(
        certificate.validity().not_after.to_datetime(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::prelude::GeneralName;

    #[test]
    fn a_leaf_is_for_servers_of_its_names_and_within_its_ca() {
        let now = SystemTime::now();
        let ca = Ca::issue(now, CA_LIFE).unwrap();
        let late = ca.until - DAY;
        for at in [now, late] {
            let names = [
                "outrigger.shop.svc".to_owned(),
                "::1".to_owned(),
                "127.0.0.1".to_owned(),
            ];
            let leaf = ca.sign(&names, at, LEAF_LIFE).unwrap();
            let (_, parsed) = X509Certificate::from_der(&leaf.der).unwrap();
            assert!(leaf.until <= ca.until);
            assert!(not_after(&leaf.der).unwrap() <= ca.until);
            let usage = parsed.extended_key_usage().unwrap().unwrap().value;
            assert!(usage.server_auth && !usage.client_auth && !usage.any);
            assert!(!parsed.is_ca());
            let found = parsed.subject_alternative_name().unwrap().unwrap().value;
            assert_eq!(
                found.general_names[0],
                GeneralName::DNSName("outrigger.shop.svc")
            );
            assert_eq!(found.general_names.len(), 3);
        }
    }

    #[test]
    fn serials_differ() {
        let now = SystemTime::now();
        let ca = Ca::issue(now, CA_LIFE).unwrap();
        let serial = |leaf: &Leaf| {
            X509Certificate::from_der(&leaf.der)
                .unwrap()
                .1
                .raw_serial_as_string()
        };
        let names = ["localhost".to_owned()];
        assert_ne!(
            serial(&ca.sign(&names, now, LEAF_LIFE).unwrap()),
            serial(&ca.sign(&names, now, LEAF_LIFE).unwrap())
        );
    }

    #[test]
    fn a_ca_comes_back_from_its_pem() {
        let now = SystemTime::now();
        let ca = Ca::issue(now, CA_LIFE).unwrap();
        let again = Ca::read(ca.pem.clone(), &ca.key_pem()).unwrap();
        // X.509 counts in seconds.
        for (exact, read) in [(ca.since, again.since), (ca.until, again.until)] {
            assert!(exact.duration_since(read).unwrap() < Duration::from_secs(1));
        }
        let other = Ca::issue(now, CA_LIFE).unwrap();
        let error = Ca::read(ca.pem.clone(), &other.key_pem()).unwrap_err();
        assert_eq!(error.to_string(), "the CA: certificate and key are no pair");
    }
}
