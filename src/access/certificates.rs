//! The authority, and the two certificates that it signs: the server's and the owner's.

use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde::{Deserialize, Serialize};

use super::AccessError;
use crate::model::{API_SERVICE, GATEWAY};

/// How long the authority holds. When it goes, every kubeconfig that was copied is void, so that is long.
const AUTHORITY: SignedDuration = SignedDuration::from_hours(24 * 3650);

/// How long a certificate holds: a year, as kubeadm's.
pub(super) const LEAF: SignedDuration = SignedDuration::from_hours(24 * 365);

/// So long before its end a certificate is made anew: a laptop may sleep for weeks.
const EARLY: SignedDuration = SignedDuration::from_hours(24 * 30);

/// A certificate with its key, in PEM.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key must not come into a log.
        f.debug_struct("Pair")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// Everything that proves who somebody is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Certificates {
    pub authority: Pair,
    pub server: Pair,
    pub client: Pair,
    authority_ends: Timestamp,
    leaves_end: Timestamp,
    /// The names in the server's. Files of earlier versions do not tell them.
    #[serde(default)]
    names: Vec<String>,
}

/// Names by which the API may be called: from here, and from pods.
fn server_names() -> Vec<String> {
    let names = [
        "127.0.0.1",
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let addresses = [API_SERVICE, GATEWAY].map(|ip| ip.to_string());
    names.map(str::to_owned).into_iter().chain(addresses).collect()
}

/// What is to be made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    Nothing,
    Leaves,
    All,
}

impl Certificates {
    /// A new authority and what it signs.
    pub fn make(now: Timestamp) -> Result<Self, AccessError> {
        let key = KeyPair::generate()?;
        let ends = now + AUTHORITY;
        let mut params = authority_params();
        set_validity(&mut params, now, ends);
        let authority = Pair {
            certificate: params.self_signed(&key)?.pem(),
            key: key.serialize_pem(),
        };
        Self::signed_by(authority, ends, now)
    }

    /// The same authority with new certificates.
    pub fn with_new_leaves(&self, now: Timestamp) -> Result<Self, AccessError> {
        Self::signed_by(self.authority.clone(), self.authority_ends, now)
    }

    fn signed_by(authority: Pair, authority_ends: Timestamp, now: Timestamp) -> Result<Self, AccessError> {
        let issuer = Issuer::new(authority_params(), KeyPair::from_pem(&authority.key)?);
        let leaves_end = now + LEAF;
        let mut server = CertificateParams::new(server_names())?;
        server.distinguished_name.push(DnType::CommonName, "kubelocal");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let mut client = CertificateParams::new(Vec::new())?;
        client
            .distinguished_name
            .push(DnType::OrganizationName, "system:masters");
        client
            .distinguished_name
            .push(DnType::CommonName, super::kubeconfig::USER);
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let sign = |mut params: CertificateParams| -> Result<Pair, AccessError> {
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            set_validity(&mut params, now, leaves_end);
            let key = KeyPair::generate()?;
            Ok(Pair {
                certificate: params.signed_by(&key, &issuer)?.pem(),
                key: key.serialize_pem(),
            })
        };
        let (server, client) = (sign(server)?, sign(client)?);
        Ok(Self {
            authority,
            server,
            client,
            authority_ends,
            leaves_end,
            names: server_names(),
        })
    }

    /// What expires soon.
    pub fn plan_renewal(&self, now: Timestamp) -> Renewal {
        // An authority that ends before a leaf would take the leaf with it.
        if self.authority_ends < now + LEAF {
            Renewal::All
        } else if self.leaves_end < now + EARLY || self.names != server_names() {
            Renewal::Leaves
        } else {
            Renewal::Nothing
        }
    }

    /// See [`super::Access::server_config`].
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, AccessError> {
        let unusable = |error: &dyn std::fmt::Display| AccessError::Use(error.to_string());
        let certificate =
            |pair: &Pair| CertificateDer::from_pem_slice(pair.certificate.as_bytes()).map_err(|error| unusable(&error));
        let key = PrivateKeyDer::from_pem_slice(self.server.key.as_bytes()).map_err(|error| unusable(&error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots
            .add(certificate(&self.authority)?)
            .map_err(|error| unusable(&error))?;
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .allow_unauthenticated()
            .build()
            .map_err(|error| unusable(&error))?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&error))?
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![certificate(&self.server)?], key)
            .map_err(|error| unusable(&error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// The authority's own words, but for when it holds: the same every time, so that what is signed later names the same issuer.
pub(super) fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "kubelocal-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

/// From yesterday, because clocks differ.
pub(super) fn set_validity(params: &mut CertificateParams, now: Timestamp, ends: Timestamp) {
    let date = |time: Timestamp| {
        let date = time.to_zoned(TimeZone::UTC).date();
        let part = |number: i8| u8::try_from(number).expect("months and days are small and positive");
        rcgen::date_time_ymd(date.year().into(), part(date.month()), part(date.day()))
    };
    params.not_before = date(now - SignedDuration::from_hours(24));
    params.not_after = date(ends);
}
