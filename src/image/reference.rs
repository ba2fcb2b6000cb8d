//! Image references as Kubernetes reads them: `nginx` is `docker.io/library/nginx:latest`.
//!
//! The grammar and the wording of its errors are those of `distribution/reference`, which kubelet and every container
//! runtime use. Pure: nothing here knows which images exist.

use std::fmt;
use std::str::FromStr;

use super::digest::Digest;
use super::error::ImageError;

/// The registry that a name without one means.
pub(super) const DEFAULT_DOMAIN: &str = "docker.io";
/// Its old name, still accepted.
const LEGACY_DOMAIN: &str = "index.docker.io";
/// Where images without a user live on the default registry.
const OFFICIAL: &str = "library";
/// The tag that a name with neither tag nor digest means.
const DEFAULT_TAG: &str = "latest";
/// `NameTotalLengthMax` of the grammar.
const NAME_MAX: usize = 255;
/// The longest tag of the grammar.
const TAG_MAX: usize = 128;

const INVALID: &str = "invalid reference format";

/// A normalised image reference. It has a tag, a digest, or both; with both, the digest decides.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Reads a reference and fills in what Kubernetes fills in: `docker.io`, `library/`, `:latest`.
    ///
    /// # Errors
    /// [`ImageError::InvalidImageName`] for what upstream refuses.
    pub fn parse(name: &str) -> Result<Reference, ImageError> {
        parse(name).map_err(|why| ImageError::InvalidImageName {
            name: name.to_owned(),
            why,
        })
    }

    /// The registry's host, with its port if it has one.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository's path at the registry: `library/nginx`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag, if it has one.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if it has one.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// `docker.io/library/nginx`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The name under which the store looks it up: with a digest the tag has no say.
    pub fn store_name(&self) -> String {
        match &self.digest {
            Some(digest) => format!("{}@{digest}", self.repository()),
            None => self.to_string(),
        }
    }

    /// This repository at a digest.
    pub fn with_digest(&self, digest: &Digest) -> Reference {
        Reference {
            tag: None,
            digest: Some(digest.clone()),
            ..self.clone()
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = ImageError;

    fn from_str(name: &str) -> Result<Reference, ImageError> {
        Reference::parse(name)
    }
}

fn parse(name: &str) -> Result<Reference, &'static str> {
    if is_identifier(name) {
        return Err("invalid repository name, cannot specify 64-byte hexadecimal strings");
    }
    let (rest, digest) = match name.split_once('@') {
        Some((rest, digest)) => (rest, Some(Digest::parse(digest).ok_or(INVALID)?)),
        None => (name, None),
    };
    let (domain, rest) = split_domain(rest);
    let (path, tag) = match rest.split_once(':') {
        Some((path, tag)) => (path, Some(tag.to_owned())),
        None => (rest, None),
    };
    if path.is_empty() {
        return Err(INVALID);
    }
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("invalid reference format: repository name must be lowercase");
    }
    let path = match domain == DEFAULT_DOMAIN && !path.contains('/') {
        true => format!("{OFFICIAL}/{path}"),
        false => path.to_owned(),
    };
    if !is_domain(&domain) || !is_path(&path) || !tag.as_deref().is_none_or(is_tag) {
        return Err(INVALID);
    }
    if path.len() > NAME_MAX {
        return Err("repository name must not be more than 255 characters");
    }
    let tag = tag.or_else(|| digest.is_none().then(|| DEFAULT_TAG.to_owned()));
    Ok(Reference {
        domain,
        path,
        tag,
        digest,
    })
}

/// The first component is a registry if it could not be a user's name (`splitDockerDomain`).
fn split_domain(name: &str) -> (String, &str) {
    let is_host = |first: &str| {
        first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase())
    };
    match name.split_once('/') {
        Some((LEGACY_DOMAIN, rest)) => (DEFAULT_DOMAIN.to_owned(), rest),
        Some((first, rest)) if is_host(first) => (first.to_owned(), rest),
        _ => (DEFAULT_DOMAIN.to_owned(), name),
    }
}

/// 64 hexadecimal digits are an id and never a name.
pub(super) fn is_identifier(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(is_lower_hex)
}

pub(super) fn is_lower_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

/// `host`, `host.name:5000`, `[::1]:5000`.
pub(super) fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            if address.is_empty() || !address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':') {
                return false;
            }
            match port {
                "" => return true,
                port => match port.strip_prefix(':') {
                    Some(port) => return is_port(port),
                    None => return false,
                },
            }
        }
        None => match domain.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (domain, None),
        },
    };
    host.split('.').all(is_domain_component) && port.is_none_or(is_port)
}

fn is_port(port: &str) -> bool {
    !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit())
}

fn is_domain_component(component: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = component.as_bytes();
    edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
}

/// A repository's path.
pub(super) fn is_path(path: &str) -> bool {
    path.split('/').all(is_path_component)
}

/// Lower-case letters and digits, joined by `.`, `_`, `__` or any number of `-`.
fn is_path_component(component: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let is_separator = |s: &[u8]| matches!(s, b"." | b"_" | b"__") || (!s.is_empty() && s.iter().all(|b| *b == b'-'));
    let bytes = component.as_bytes();
    if !bytes.first().copied().is_some_and(is_word) || !bytes.last().copied().is_some_and(is_word) {
        return false;
    }
    bytes
        .split(|b| is_word(*b))
        .filter(|between| !between.is_empty())
        .all(is_separator)
}

fn is_tag(tag: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut bytes = tag.bytes();
    tag.len() <= TAG_MAX && bytes.next().is_some_and(is_word) && bytes.all(|b| is_word(b) || b == b'.' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_are_normalised_as_kubernetes_does() {
        let digested = format!("docker.io/library/nginx@sha256:{HEX}");
        let both = format!("docker.io/library/nginx:1@sha256:{HEX}");
        for (written, normal) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:alpine", "docker.io/library/nginx:alpine"),
            ("user/app", "docker.io/user/app:latest"),
            ("docker.io/nginx", "docker.io/library/nginx:latest"),
            ("index.docker.io/nginx", "docker.io/library/nginx:latest"),
            ("ghcr.io/a/b/c:v1.2", "ghcr.io/a/b/c:v1.2"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/app:dev", "localhost:5000/app:dev"),
            ("[::1]:5000/app", "[::1]:5000/app:latest"),
            ("Registry/app", "Registry/app:latest"),
            ("a__b/c--d/e.f_g", "docker.io/a__b/c--d/e.f_g:latest"),
            ("nginx:V_1.0-x", "docker.io/library/nginx:V_1.0-x"),
            (&format!("nginx@sha256:{HEX}"), &digested),
            (&format!("nginx:1@sha256:{HEX}"), &both),
        ] {
            assert_eq!(
                Reference::parse(written).map(|r| r.to_string()).ok().as_deref(),
                Some(normal),
                "{written}"
            );
        }
    }

    #[test]
    fn bad_names_are_refused() {
        let long = format!("{}/x", "a".repeat(256));
        let long_tag = format!("a:{}", "t".repeat(129));
        for bad in [
            "",
            ":tag",
            "nginx:",
            "NGINX",
            "a//b",
            "/a",
            "a/",
            "a b",
            "a..b",
            "a___b",
            "-a",
            "a-",
            "nginx:-x",
            "nginx:a:b",
            "nginx@sha256:12",
            "nginx@md5:00",
            "http://nginx",
            "a.b:port/x",
            "[::1/x",
            "[::1]x/y",
            HEX,
            &long,
            &long_tag,
            "ünï",
            "nginx\n",
            "..",
            "a/../b",
        ] {
            assert!(
                matches!(Reference::parse(bad), Err(ImageError::InvalidImageName { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn with_a_digest_the_tag_has_no_say() {
        let reference = Reference::parse(&format!("nginx:1@sha256:{HEX}")).expect("a good name");
        assert_eq!(reference.store_name(), format!("docker.io/library/nginx@sha256:{HEX}"));
    }
}
