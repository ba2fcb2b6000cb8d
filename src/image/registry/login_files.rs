//! The places where docker and podman keep the user's credentials, and the helpers that they name.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncWriteExt;

use super::credential::{Credential, Keyring, Login};
use super::error::{RegistryError, words_of};
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

/// What was found in them.
#[derive(Debug, Default)]
pub struct Found {
    /// The first credential that fits.
    pub credential: Option<Credential>,
    /// What was passed over on the way to it, for whoever is refused.
    pub passed_over: Vec<RegistryError>,
}

impl Found {
    fn pass_over(&mut self, error: RegistryError) {
        tracing::warn!(%error, "credentials that can't be used are passed over");
        self.passed_over.push(error);
    }

    /// Adds to a refusal what was passed over: the right credentials may have been there.
    pub fn explain(&self, refusal: RegistryError) -> RegistryError {
        let also: String = self
            .passed_over
            .iter()
            .map(|error| format!("; passed over: {error}"))
            .collect();
        match refusal {
            RegistryError::Denied {
                what,
                host,
                login,
                words,
            } => RegistryError::Denied {
                what,
                host,
                login,
                words: words + &also,
            },
            RegistryError::Refused {
                what,
                host,
                status,
                words,
            } => RegistryError::Refused {
                what,
                host,
                status,
                words: words + &also,
            },
            other => other,
        }
    }
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

    /// The credentials for a repository: those of the first file that has any. A file that can't be read and a helper that fails
    /// are passed over: many images need no credentials, and what is wrong may be of another tool.
    ///
    /// # Errors
    /// When a file that the user named can't be read. That there are none is no error.
    pub async fn find(&self, domain: &str, repository: &str) -> Result<Found, RegistryError> {
        let mut found = Found::default();
        for file in &self.files {
            let keyring = match self.read(file) {
                Ok(Some(keyring)) => keyring,
                Ok(None) => continue,
                Err(error) if self.must_exist => return Err(error),
                Err(error) => {
                    found.pass_over(error);
                    continue;
                }
            };
            if let Some(helper) = keyring.helper(domain) {
                match ask_helper(helper, domain, self.user).await {
                    Ok(Some(login)) => {
                        let origin = format!("docker-credential-{helper}");
                        found.credential = Some(Credential { login, origin });
                        return Ok(found);
                    }
                    Ok(None) => {}
                    Err(error) => found.pass_over(error),
                }
            }
            if let Some(credential) = keyring.find(domain, repository).next() {
                found.credential = Some(credential.clone());
                return Ok(found);
            }
        }
        Ok(found)
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
        .stderr(Stdio::piped())
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
            // A program that could not be started says so there.
            false => Err(failed(format!(
                "{}{}",
                output.status,
                words_of(&[&output.stdout[..], &output.stderr[..]].concat())
            ))),
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
        let found = |domain: &'static str| {
            let files = files.clone();
            async move { files.find(domain, "x").await.expect("readable").credential }
        };
        assert_eq!(found("a.io").await.expect("one").origin, first.display().to_string());
        assert!(found("b.io").await.is_some());
        assert!(found("c.io").await.is_none());
        let named = LoginFiles::only(dir.path().join("0"));
        assert!(named.find("a.io", "x").await.is_err());
    }

    #[tokio::test]
    async fn what_is_broken_hides_nothing_behind_it_and_is_told_to_who_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let texts = [
            "{no json",
            r#"{"credsStore": "not-installed-anywhere", "auths": {"b.io": {"registrytoken": "beside"}}}"#,
            r#"{"auths": {"a.io": {"registrytoken": "behind"}}}"#,
        ];
        let files = texts.iter().enumerate().map(|(at, text)| {
            let file = dir.path().join(at.to_string());
            std::fs::write(&file, text).expect("writes");
            file
        });
        let files = LoginFiles {
            files: files.collect(),
            ..LoginFiles::default()
        };
        for (domain, token) in [("a.io", Some("behind")), ("b.io", Some("beside")), ("c.io", None)] {
            let found = files.find(domain, "x").await.expect("no file was named");
            let login = found.credential.as_ref().map(|credential| credential.login.clone());
            assert_eq!(
                login,
                token.map(|token| Login::RegistryToken(token.to_owned())),
                "{domain}"
            );
            let refusal = RegistryError::Denied {
                what: "x".to_owned(),
                host: domain.to_owned(),
                login: "y".to_owned(),
                words: ": no".to_owned(),
            };
            let said = found.explain(refusal).to_string();
            assert!(
                said.contains(": no; passed over: ") && said.contains("docker-credential-not-installed-anywhere: "),
                "{said}"
            );
        }
    }
}
