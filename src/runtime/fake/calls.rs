//! What the fake answers when it is called: notes the call, fails if it was told to, and else does as the room says.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::{FakeContainer, FakeRuntime, FakeSandbox, Verb, exit};
use crate::runtime::{
    Answer, AttachConfig, ContainerConfig, ContainerId, ContainerState, ExecConfig, PodUid, PodUsage, Resize, Runtime,
    RuntimeError, SandboxConfig, SandboxStatus, Session, Stop,
};

fn answer<T: Send + 'static>(result: Result<T, RuntimeError>) -> Answer<'static, T> {
    Box::pin(std::future::ready(result))
}

impl Runtime for FakeRuntime {
    fn run_pod_sandbox<'a>(&'a self, config: &'a SandboxConfig) -> Answer<'a, ()> {
        if let Some(text) = self.record(Verb::RunSandbox, &config.uid, "") {
            return answer(Err(RuntimeError::Sandbox(text)));
        }
        let now = self.now();
        let fresh = FakeSandbox {
            config: config.clone(),
            alive: true,
            created_at: now,
            containers: Vec::new(),
        };
        self.lock().sandboxes.entry(config.uid.clone()).or_insert(fresh).alive = true;
        self.hint(&config.uid);
        answer(Ok(()))
    }

    fn stop_pod_sandbox<'a>(&'a self, pod: &'a PodUid) -> Answer<'a, ()> {
        if let Some(text) = self.record(Verb::StopSandbox, pod, "") {
            return answer(Err(RuntimeError::Sandbox(text)));
        }
        answer(self.stop_sandbox(pod))
    }

    fn remove_pod_sandbox<'a>(&'a self, pod: &'a PodUid) -> Answer<'a, ()> {
        if let Some(text) = self.record(Verb::RemoveSandbox, pod, "") {
            return answer(Err(RuntimeError::Sandbox(text)));
        }
        let removed = self.lock().sandboxes.remove(pod).is_some();
        if removed {
            self.hint(pod);
        }
        answer(Ok(()))
    }

    fn create_container<'a>(&'a self, pod: &'a PodUid, config: &'a ContainerConfig) -> Answer<'a, ()> {
        if let Some(text) = self.record(Verb::Create, pod, &config.name) {
            return answer(Err(RuntimeError::Create(text)));
        }
        let mut state = self.lock();
        let Some(sandbox) = state.sandboxes.get_mut(pod).filter(|s| s.alive) else {
            return answer(Err(RuntimeError::NoSandbox(pod.clone())));
        };
        if !sandbox.containers.iter().any(|c| c.config.id == config.id) {
            let fresh = FakeContainer {
                config: config.clone(),
                state: ContainerState::Created,
                kill_at: None,
                is_drained: false,
            };
            sandbox.containers.push(fresh);
        }
        answer(Ok(()))
    }

    fn start_container<'a>(&'a self, pod: &'a PodUid, id: &'a ContainerId) -> Answer<'a, ()> {
        if let Some(text) = self.record(Verb::Start, pod, &self.name_of(pod, id)) {
            let now = self.now();
            let ended = self.with(pod, id, |container| {
                let mut end = exit(None, now, 128, None, "StartError");
                end.message.clone_from(&text);
                container.state = ContainerState::Exited(end);
                Ok(())
            });
            self.hint(pod);
            return answer(ended.and(Err(RuntimeError::Start(text))));
        }
        answer(self.start(pod, id))
    }

    fn stop_container<'a>(&'a self, pod: &'a PodUid, id: &'a ContainerId, stop: Stop) -> Answer<'a, ()> {
        if let Some(text) = self.record(Verb::Stop, pod, &self.name_of(pod, id)) {
            return answer(Err(RuntimeError::Sandbox(text)));
        }
        answer(self.stop(pod, id, &stop))
    }

    fn resize<'a>(&'a self, pod: &'a PodUid, resize: &'a Resize) -> Answer<'a, ()> {
        if let Some(text) = self.record(Verb::Resize, pod, "") {
            return answer(Err(RuntimeError::Resize(text)));
        }
        for one in &resize.containers {
            let changed = self.with(pod, &one.id, |container| {
                container.config.limits.clone_from(&one.limits);
                container.config.annotations.extend(one.annotations.clone());
                Ok(())
            });
            if changed.is_err() {
                return answer(changed);
            }
        }
        self.hint(pod);
        answer(Ok(()))
    }

    fn remove_container<'a>(&'a self, pod: &'a PodUid, id: &'a ContainerId) -> Answer<'a, ()> {
        if let Some(text) = self.record(Verb::Remove, pod, &self.name_of(pod, id)) {
            return answer(Err(RuntimeError::Sandbox(text)));
        }
        if let Some(sandbox) = self.lock().sandboxes.get_mut(pod) {
            sandbox.containers.retain(|c| c.config.id != *id);
        }
        answer(Ok(()))
    }

    fn exec<'a>(&'a self, pod: &'a PodUid, id: &'a ContainerId, _exec: &'a ExecConfig) -> Answer<'a, Session> {
        let name = self.name_of(pod, id);
        if let Some(text) = self.record(Verb::Exec, pod, &name) {
            return answer(Err(RuntimeError::Start(text)));
        }
        let script = self.lock().scripts.get(&name).cloned().unwrap_or_default();
        answer(self.with(pod, id, |_| Ok(silent_session(script.exec_code, script.exec_takes))))
    }

    fn attach<'a>(&'a self, pod: &'a PodUid, id: &'a ContainerId, _attach: &'a AttachConfig) -> Answer<'a, Session> {
        if let Some(text) = self.record(Verb::Attach, pod, &self.name_of(pod, id)) {
            return answer(Err(RuntimeError::Start(text)));
        }
        answer(self.with(pod, id, |_| Ok(silent_session(0, Duration::ZERO))))
    }

    /// The pods of this runtime have the network of the test.
    fn connect<'a>(&'a self, pod: &'a PodUid, address: SocketAddr) -> Answer<'a, TcpStream> {
        if let Some(text) = self.record(Verb::Connect, pod, "") {
            return answer(Err(RuntimeError::Connect(std::io::Error::other(text))));
        }
        self.dial(address)
    }

    fn dial(&self, address: SocketAddr) -> Answer<'_, TcpStream> {
        Box::pin(async move { TcpStream::connect(address).await.map_err(RuntimeError::Connect) })
    }

    fn usage(&self) -> Answer<'_, Vec<PodUsage>> {
        answer(Ok(self.usages()))
    }

    fn list(&self) -> Answer<'_, Vec<SandboxStatus>> {
        answer(Ok(self.statuses()))
    }

    fn status<'a>(&'a self, pod: &'a PodUid) -> Answer<'a, Option<SandboxStatus>> {
        answer(Ok(self.lock().sandboxes.get(pod).map(FakeSandbox::status)))
    }

    fn changes(&self) -> Option<mpsc::UnboundedReceiver<PodUid>> {
        self.receiver
            .lock()
            .expect("no test panics while it holds the fake's lock")
            .take()
    }
}

/// A session without streams that ends after this time.
fn silent_session(code: i32, after: Duration) -> Session {
    let ended = Box::pin(async move {
        tokio::time::sleep(after).await;
        Ok(code)
    });
    Session {
        stdin: None,
        stdout: None,
        stderr: None,
        terminal: None,
        ended,
    }
}
