//! The places where docker and podman keep the user's credentials, and the helpers that they name.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncWriteExt;

use super::credential::{Credential, Keyring, Login};
use super::error::RegistryError;
use crate::image::reference::DEFAULT_DOMAIN;

/// Bytes of a file of credentials: a hundred registries have some 20 KiB.
const FILE: u64 = 1 << 20;
/// How long a helper may take: some ask a cloud, some ask the user for a passphrase.
const HELPER: Duration = Duration::from_secs(60);
/// What helpers call the default registry.
const DEFAULT_SERVER: &str = "https://index.docker.io/v1/";

/// The files in which the user's credentials may be, in the order in which they are asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct LoginFiles {
    files: Vec<PathBuf>,
    /// Named by the user: then it has to be there.
    must_exist: bool,
    /// As whom helpers run, for a node that is root of a user namespace: the ids that the user has outside of it.
    user: Option<(u32, u32)>,
}

impl LoginFiles {
    /// As podman looks for them (containers-auth.json(5)), and docker: `$REGISTRY_AUTH_FILE` alone if it is set.
    #[must_use]
    pub fn plan(variable: impl Fn(&str) -> Option<PathBuf>) -> LoginFiles {
        if let Some(file) = variable("REGISTRY_AUTH_FILE") {
            return LoginFiles::only(file);
        }
        let home = variable("HOME");
        let below_home = |path: &str| home.as_ref().map(|home| home.join(path));
        let files = [
            variable("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json")),
            variable("XDG_CONFIG_HOME")
                .or_else(|| below_home(".config"))
                .map(|dir| dir.join("containers/auth.json")),
            variable("DOCKER_CONFIG")
                .or_else(|| below_home(".docker"))
                .map(|dir| dir.join("config.json")),
            below_home(".dockercfg"),
        ];
        LoginFiles {
            files: files.into_iter().flatten().collect(),
            ..LoginFiles::default()
        }
    }

    /// One file that the user named.
    #[must_use]
    pub fn only(file: PathBuf) -> LoginFiles {
        LoginFiles {
            files: vec![file],
            must_exist: true,
            user: None,
        }
    }

    /// The same with helpers that run as this user and group, and not as root of the user namespace that the node is in: the
    /// session's keyring would take them for somebody else.
    #[must_use]
    pub fn with_user(self, user: Option<(u32, u32)>) -> LoginFiles {
        LoginFiles { user, ..self }
    }

    /// As whom helpers run.
    pub(in crate::image) fn user(&self) -> Option<(u32, u32)> {
        self.user
    }

    /// The credentials for a repository: those of the first file that has any.
    ///
    /// # Errors
    /// When a file can't be read, or a helper fails. That there are none is no error.
    pub async fn find(&self, domain: &str, repository: &str) -> Result<Option<Credential>, RegistryError> {
        for file in &self.files {
            let Some(keyring) = self.read(file)? else { continue };
            if let Some(helper) = keyring.helper(domain)
                && let Some(login) = ask_helper(helper, domain, self.user).await?
            {
                let origin = format!("docker-credential-{helper}");
                return Ok(Some(Credential { login, origin }));
            }
            if let Some(found) = keyring.find(domain, repository).next() {
                return Ok(Some(found.clone()));
            }
        }
        Ok(None)
    }

    fn read(&self, file: &Path) -> Result<Option<Keyring>, RegistryError> {
        let wrong = |why: String| RegistryError::File {
            path: file.to_owned(),
            why,
        };
        let text = match read_limited(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.must_exist => return Ok(None),
            Err(error) => return Err(wrong(error.to_string())),
        };
        let origin = file.display().to_string();
        let parsed = match file.file_name().is_some_and(|name| name == ".dockercfg") {
            true => Keyring::parse_legacy(&text, &origin),
            false => Keyring::parse(&text, &origin),
        };
        parsed.map(Some).map_err(wrong)
    }
}

fn read_limited(file: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut text = Vec::new();
    std::fs::File::open(file)?.take(FILE).read_to_end(&mut text)?;
    Ok(text)
}

/// What helpers answer (docker-credential-helpers' protocol).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    secret: String,
}

/// How a helper is started. A user namespace within the node's own gives the user back the ids that everybody else knows;
/// `unshare(1)` knows these options since
/// util-linux 2.36 of 2020.
fn plan_command(helper: &str, user: Option<(u32, u32)>) -> (String, Vec<String>) {
    match user {
        None => (helper.to_owned(), vec!["get".to_owned()]),
        Some((uid, gid)) => {
            let map = [format!("--map-user={uid}"), format!("--map-group={gid}")];
            let words = ["--user".to_owned()]
                .into_iter()
                .chain(map)
                .chain(["--", helper, "get"].map(str::to_owned));
            ("unshare".to_owned(), words.collect())
        }
    }
}

async fn ask_helper(name: &str, domain: &str, user: Option<(u32, u32)>) -> Result<Option<Login>, RegistryError> {
    let helper = format!("docker-credential-{name}");
    let failed = |why: String| RegistryError::Helper {
        helper: helper.clone(),
        why,
    };
    if name.contains('/') {
        return Err(failed("a helper's name is no path".to_owned()));
    }
    let server = if domain == DEFAULT_DOMAIN {
        DEFAULT_SERVER
    } else {
        domain
    };
    let (program, words) = plan_command(&helper, user);
    let mut child = tokio::process::Command::new(program)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let mut stdin = child.stdin.take().expect("is piped");
    let asked = async {
        // A helper that does not listen says why by its answer.
        let _ = stdin.write_all(format!("{server}\n").as_bytes()).await;
        drop(stdin);
        child.wait_with_output().await
    };
    let output = tokio::time::timeout(HELPER, asked).await;
    let output = output
        .map_err(|_| failed(format!("it did not answer within {} s", HELPER.as_secs())))?
        .map_err(|error| failed(error.to_string()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        // The protocol has no code for it, only this sentence.
        return match said.contains("credentials not found") {
            true => Ok(None),
            false => Err(failed(format!("{}: {}", output.status, said.trim()))),
        };
    }
    let answer: Answer =
        serde_json::from_slice(&output.stdout).map_err(|_| failed("its answer is no credential".to_owned()))?;
    Ok(Some(match answer.username.as_str() {
        "<token>" => Login::IdentityToken(answer.secret),
        _ => Login::Password {
            user: answer.username,
            password: answer.secret,
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_where_podman_and_docker_keep_them() {
        let plan = |pairs: &'static [(&str, &str)]| {
            let found = LoginFiles::plan(|name| {
                pairs
                    .iter()
                    .find(|(key, _)| *key == name)
                    .map(|(_, v)| PathBuf::from(v))
            });
            let files: Vec<String> = found.files.iter().map(|file| file.display().to_string()).collect();
            (files.join(" "), found.must_exist)
        };
        assert_eq!(
            plan(&[("HOME", "/h"), ("XDG_RUNTIME_DIR", "/r")]).0,
            "/r/containers/auth.json /h/.config/containers/auth.json /h/.docker/config.json /h/.dockercfg"
        );
        assert_eq!(
            plan(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/c"), ("DOCKER_CONFIG", "/d")]).0,
            "/c/containers/auth.json /d/config.json /h/.dockercfg"
        );
        assert_eq!(
            plan(&[("HOME", "/h"), ("REGISTRY_AUTH_FILE", "/f")]),
            ("/f".to_owned(), true)
        );
        assert_eq!(plan(&[]), (String::new(), false));
    }

    #[test]
    fn helpers_run_as_the_user_that_the_session_knows() {
        let words = |user| {
            let (program, words) = plan_command("docker-credential-x", user);
            format!("{program} {}", words.join(" "))
        };
        assert_eq!(words(None), "docker-credential-x get");
        assert_eq!(
            words(Some((1000, 100))),
            "unshare --user --map-user=1000 --map-group=100 -- docker-credential-x get"
        );
    }

    #[tokio::test]
    async fn the_first_file_with_a_match_counts_and_a_named_one_must_be_there() {
        let dir = tempfile::tempdir().expect("a directory");
        let (first, second) = (dir.path().join("1"), dir.path().join("2"));
        std::fs::write(&first, r#"{"auths": {"a.io": {"username": "one", "password": "p"}}}"#).expect("writes");
        std::fs::write(
            &second,
            r#"{"auths": {"a.io": {"username": "two", "password": "p"}, "b.io": {"registrytoken": "t"}}}"#,
        )
        .expect("writes");
        let files = LoginFiles {
            files: vec![dir.path().join("0"), first.clone(), second],
            ..LoginFiles::default()
        };
        let found = files.find("a.io", "x").await.expect("readable").expect("one");
        assert_eq!(found.origin, first.display().to_string());
        assert!(files.find("b.io", "x").await.expect("readable").is_some());
        assert!(files.find("c.io", "x").await.expect("readable").is_none());
        let named = LoginFiles::only(dir.path().join("0"));
        assert!(named.find("a.io", "x").await.is_err());
    }
}
