//! Names as the host resolves them.

use std::io;
use std::net::IpAddr;

use hickory_resolver::TokioResolver;

/// The addresses of a name, or of an address that is written as one, as the host's files and resolvers have it at this moment. Not by the C library's
/// resolver, which loads modules of the host's C library into a static program; and by a resolver that is made anew each time, since the
/// host's change with its networks.
///
/// # Errors
/// What the resolver says.
pub async fn lookup(host: &str) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(vec![address]);
    }
    let lookup = async { TokioResolver::builder_tokio()?.build()?.lookup_ip(host).await };
    let found = lookup.await.map_err(io::Error::other)?;
    Ok(found.iter().collect())
}
