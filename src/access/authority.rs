//! Certificates for other servers of the node: Ingresses show them where no Secret has one.

use std::sync::Arc;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose};

use super::certificates::{LEAF, Pair, authority_params, set_validity};
use super::{Access, AccessError};
use crate::model::Clock;

/// The authority that signs the node's certificates. Clients that trust the kubeconfig's authority trust what it issues.
#[derive(Clone)]
pub struct Authority {
    pair: Pair,
    clock: Arc<dyn Clock>,
}

impl Access {
    /// The authority, to issue more certificates by.
    pub fn authority(&self, clock: Arc<dyn Clock>) -> Authority {
        Authority {
            pair: self.kept.certificates.authority.clone(),
            clock,
        }
    }
}

impl Authority {
    /// A certificate for a server of this name, and its key, in PEM.
    ///
    /// # Errors
    /// [`AccessError::Make`], as for a name that can't stand in a certificate.
    pub fn issue(&self, name: &str) -> Result<(String, String), AccessError> {
        let issuer = Issuer::new(authority_params(), KeyPair::from_pem(&self.pair.key)?);
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let now = self.clock.now();
        set_validity(&mut params, now, now + LEAF);
        let key = KeyPair::generate()?;
        Ok((params.signed_by(&key, &issuer)?.pem(), key.serialize_pem()))
    }

    /// An authority of its own.
    #[cfg(test)]
    pub fn for_tests(clock: Arc<dyn Clock>) -> Authority {
        let made = super::certificates::Certificates::make(clock.now()).expect("makes");
        Authority {
            pair: made.authority,
            clock,
        }
    }

    /// What clients trust.
    #[cfg(test)]
    pub fn certificate_for_tests(&self) -> rustls::pki_types::CertificateDer<'static> {
        use rustls::pki_types::pem::PemObject;
        let read = rustls::pki_types::CertificateDer::from_pem_slice(self.pair.certificate.as_bytes());
        read.expect("was made")
    }
}
