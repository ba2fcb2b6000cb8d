//! The HTTP client of one registry: whom it trusts, how long it waits, how far it follows.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::redirect::{Attempt, Policy};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::error::RegistryError;
use super::settings::{Endpoint, Transport, is_loopback, name_of};

/// How long making a connection may take, TLS included. A laptop on a slow link needs 3 s; more is a host that is not there.
const CONNECT: Duration = Duration::from_secs(10);
/// How often an answer may lead elsewhere. Registries send blobs from a storage service, which is one or two steps.
const REDIRECTS: usize = 5;

/// Makes the client for an endpoint. Reads no certificates: that is done when the first one has to be verified, so that
/// a node which only meets registries on loopback never holds them. `stall` is how long an answer may make no progress,
/// counted from the beginning of the request.
pub(super) fn client(endpoint: &Endpoint, stall: Option<Duration>) -> Result<reqwest::Client, RegistryError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("kubelocal/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .http1_only()
        .tls_backend_preconfigured(tls(endpoint))
        .redirect(Policy::custom(follow))
        .referer(false);
    if let Some(stall) = stall {
        builder = builder.read_timeout(stall);
    }
    if is_loopback(&endpoint.host) {
        // No proxy means the same machine as we do.
        builder = builder.no_proxy();
    }
    builder
        .build()
        .map_err(|error| RegistryError::of(&endpoint.host, error))
}

/// The client drops credentials when the host changes; that TLS stays TLS is ours to see to.
fn follow(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let before = attempt.previous();
    let is_weaker = before.last().is_some_and(|url| url.scheme() == "https") && attempt.url().scheme() != "https";
    if before.len() > REDIRECTS {
        attempt.error(format!("it leads elsewhere more than {REDIRECTS} times"))
    } else if is_weaker {
        attempt.error("it leads from TLS to plain HTTP")
    } else {
        attempt.follow()
    }
}

fn tls(endpoint: &Endpoint) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier {
        provider: provider.clone(),
        trusts_blindly: (endpoint.transport == Transport::Insecure).then(|| name_of(&endpoint.host).to_owned()),
        ca: endpoint.ca.clone(),
        roots: OnceLock::new(),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the ciphers of both versions");
    builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth()
}

/// Verifies as rustls does, with certificates that are read when the first connection needs them.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    /// The host that may show any certificate. Where it leads to, such as a token server, may not.
    trusts_blindly: Option<String>,
    ca: Option<PathBuf>,
    roots: OnceLock<Result<Roots, String>>,
}

/// Whom the machine and the user trust.
#[derive(Debug)]
struct Roots {
    verifier: Arc<WebPkiServerVerifier>,
    /// The user's own certificates, of which one may be the registry's itself.
    own: Vec<CertificateDer<'static>>,
}

impl Verifier {
    fn roots(&self) -> Result<&Roots, rustls::Error> {
        let roots = self.roots.get_or_init(|| {
            let own = self
                .ca
                .as_deref()
                .map(read_certificates)
                .transpose()?
                .unwrap_or_default();
            let verifier =
                WebPkiServerVerifier::builder_with_provider(Arc::new(all_roots(&own)?), self.provider.clone())
                    .build()
                    .map_err(|error| error.to_string())?;
            Ok(Roots { verifier, own })
        });
        match roots {
            Ok(roots) => Ok(roots),
            Err(why) => Err(rustls::Error::General(why.clone())),
        }
    }
}

/// The machine's certificate authorities and the user's.
fn all_roots(own: &[CertificateDer<'static>]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    // Bundles hold certificates that are no longer well-formed by today's rules; nobody misses them.
    roots.add_parsable_certificates(native.certs);
    for certificate in own {
        let added = roots.add(certificate.clone());
        added.map_err(|error| format!("a certificate of the user's: {error}"))?;
    }
    if roots.is_empty() {
        return Err("this machine has no certificate authorities (ca-certificates is not installed)".to_owned());
    }
    Ok(roots)
}

/// The certificates in a file; at least one.
fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |why: String| format!("{}: {why}", path.display());
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
    let certificates: Result<Vec<_>, _> = certificates.collect();
    let certificates = certificates.map_err(|error| wrong(error.to_string()))?;
    match certificates.is_empty() {
        true => Err(wrong("there is no certificate (PEM) in it".to_owned())),
        false => Ok(certificates),
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.trusts_blindly.as_deref() == Some(&*server_name.to_str()) {
            return Ok(ServerCertVerified::assertion());
        }
        let roots = self.roots()?;
        if roots.own.contains(end_entity) {
            // Trusted by itself. What `openssl req -x509` makes says that it is an authority, which no server's may say to webpki.
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        roots
            .verifier
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// An error and its causes. I/O errors carry theirs inside, where `source` passes them over.
pub(super) fn chain(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let first: &(dyn Error + 'static) = error;
    std::iter::successors(Some(first), |&cause| {
        let inside = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        match inside {
            Some(inside) => Some(inside as &(dyn Error + 'static)),
            None => cause.source(),
        }
    })
}

/// Whether a connection failed because TLS is not spoken there: what answered was no TLS record, or it hung up on ours.
pub(super) fn speaks_no_tls(error: &reqwest::Error) -> bool {
    chain(error).any(|cause| {
        let io = cause.downcast_ref::<io::Error>();
        let is_end = io.is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof);
        is_end || matches!(cause.downcast_ref(), Some(rustls::Error::InvalidMessage(_)))
    })
}

/// Whether a certificate is not trusted, so that the user may be told how to trust it.
pub(super) fn is_distrusted(error: &reqwest::Error) -> bool {
    chain(error).any(|cause| {
        matches!(
            cause.downcast_ref(),
            Some(rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::Other(_)
            ))
        )
    })
}
