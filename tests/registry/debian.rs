//! Debian's `docker-registry` on a free port of the loopback device, and skopeo to fill it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::image::Image;

/// A registry that runs for as long as this lives.
pub struct Debian {
    pub host: String,
    pub dir: TempDir,
    child: Child,
}

/// Whether a tool is missing; then says so loudly, for a test that can't run must not look like one that did.
pub fn is_missing(tools: &[&str]) -> bool {
    let missing = |tool: &&&str| Command::new(tool).arg("--version").output().is_err();
    match tools.iter().find(missing) {
        Some(tool) => {
            eprintln!("NOT TESTED: {tool} is not installed (scripts/setup test)");
            true
        }
        None => false,
    }
}

impl Debian {
    /// A registry without TLS that lets anyone in.
    pub fn plain() -> Debian {
        Debian::with(|_| String::new(), "")
    }

    /// With more in its settings: at the top level as `auth` says for its directory, and below `http`.
    pub fn with(auth: impl Fn(&Path) -> String, http: &str) -> Debian {
        let dir = tempfile::tempdir().expect("a directory");
        let settings = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {0}/data}}, delete: {{enabled: true}}}}\n\
             {1}\nhttp:\n  addr: 127.0.0.1:0\n{2}\n",
            dir.path().display(),
            auth(dir.path()),
            http.replace("DIR", &dir.path().display().to_string()),
        );
        fs::write(dir.path().join("config.yml"), settings).expect("writes");
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(dir.path().join("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry starts");
        let mut lines = BufReader::new(child.stderr.take().expect("is piped")).lines();
        let mut said = String::new();
        let host = loop {
            let line = lines
                .next()
                .unwrap_or_else(|| panic!("docker-registry ended: {said}"))
                .expect("is text");
            let port = line.split("listening on 127.0.0.1:").nth(1);
            if let Some(port) = port.map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>()) {
                break format!("127.0.0.1:{port}");
            }
            said.push_str(&line);
        };
        // Its log has to go somewhere, or it would wait for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Debian { host, dir, child }
    }

    pub fn name(&self, name: &str) -> String {
        format!("{}/test/{name}", self.host)
    }

    /// Fills it with skopeo.
    pub fn push(&self, image: &Image, name: &str, credentials: Option<&str>) {
        let layout = tempfile::tempdir_in(self.dir.path()).expect("a directory");
        image.write_layout(layout.path());
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"]);
        if let Some(credentials) = credentials {
            skopeo.args(["--dest-creds", credentials]);
        }
        let output = skopeo
            .arg(format!("oci:{}", layout.path().display()))
            .arg(format!("docker://{}", self.name(name)))
            .output()
            .expect("skopeo starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Debian {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
