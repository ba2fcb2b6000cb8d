//! Connections of pods to the outside: for each one that a pod has there is one that the host has.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use super::passes::{Pass, Passes};
use super::plan::{Verdict, plan_refusal};
use super::{BREATH, Full};
use crate::net::{Knock, Outside, Refusal};
use crate::os::{abort, relay, tune};

/// How long a pod that was let in may take to come: it is on this machine.
const ARRIVAL: Duration = Duration::from_secs(5);

/// The pod's side, and where it wants to.
type Ends = (SocketAddr, SocketAddr);

/// Makes connections.
pub(super) struct Connections {
    outside: Arc<Outside>,
    passes: Arc<Passes>,
    /// Who knocked and has not come in yet. Held for a look-up or a change.
    waiting: Mutex<HashMap<Ends, oneshot::Sender<TcpStream>>>,
    room: Arc<Semaphore>,
    full: Full,
    tasks: TaskTracker,
}

/// Room for one connection, among all and among the pod's.
type Permits = [OwnedSemaphorePermit; 2];

impl Connections {
    pub(super) fn new(
        outside: Arc<Outside>,
        passes: Arc<Passes>,
        room: Arc<Semaphore>,
        tasks: TaskTracker,
    ) -> Connections {
        Connections {
            outside,
            passes,
            waiting: Mutex::default(),
            room,
            full: Full::new("connections"),
            tasks,
        }
    }

    /// Hears who knocks, until it is dropped.
    pub(super) async fn hear(self: Arc<Self>) {
        loop {
            match self.outside.knock().await {
                Ok(knock) => self.take(knock),
                Err(error) => {
                    tracing::warn!(%error, "pods that want to connect are not heard");
                    sleep(BREATH).await;
                }
            }
        }
    }

    fn take(self: &Arc<Self>, knock: Knock) {
        let ends = (knock.source, knock.destination);
        // Who has waited for a while knocks again.
        if self.waiting().contains_key(&ends) {
            return;
        }
        match self.passes.plan(knock.source.ip(), knock.destination) {
            None => {}
            Some((Verdict::Refuse(refusal), _)) => self.refuse(&knock, refusal),
            Some((Verdict::Dial(to), pass)) => {
                // Without room it is not heard, and knocks again.
                let Some(permits) = self.permits(&pass) else { return };
                let (tell, told) = oneshot::channel();
                self.waiting().insert(ends, tell);
                let this = self.clone();
                self.tasks.spawn(async move {
                    this.answer(&knock, to, &pass, told).await;
                    drop(permits);
                });
            }
        }
    }

    /// Connects to the other side, then lets the pod in or tells it why not.
    async fn answer(&self, knock: &Knock, to: SocketAddr, pass: &Pass, told: oneshot::Receiver<TcpStream>) {
        let dialled = pass.ended.run_until_cancelled(TcpStream::connect(to)).await;
        let outer = match dialled {
            Some(Ok(outer)) => outer,
            failed => {
                self.forget(knock);
                let refusal = match failed {
                    Some(Err(error)) => {
                        tracing::debug!(pod = %knock.source, %to, %error, "a pod's connection fails");
                        plan_refusal(&error)
                    }
                    _ => Some(Refusal::Refused),
                };
                if let Some(refusal) = refusal {
                    self.refuse(knock, refusal);
                }
                return;
            }
        };
        let came = match self.outside.let_in(knock) {
            Ok(()) => timeout(ARRIVAL, told).await.ok().and_then(Result::ok),
            Err(error) => {
                tracing::debug!(%error, "a pod can't be let in");
                None
            }
        };
        match came {
            Some(inner) => carry(&inner, &outer, pass).await,
            None => {
                self.forget(knock);
                abort(&outer);
            }
        }
    }

    /// Takes connections in, until it is dropped.
    pub(super) async fn accept(self: Arc<Self>) {
        loop {
            match self.outside.accept().await {
                Ok((inner, source, destination)) => {
                    let tell = self.waiting().remove(&(source, destination));
                    match tell {
                        // Who waited too long for it has ended the other side.
                        Some(tell) => drop(tell.send(inner).map_err(|inner| abort(&inner))),
                        None => self.take_unannounced(inner, source, destination),
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "a pod was not let in");
                    sleep(BREATH).await;
                }
            }
        }
    }

    /// A connection whose pod did not knock: a Service sent it outside. The pod is connected already, so all that it can be told is that
    /// this is over.
    fn take_unannounced(self: &Arc<Self>, inner: TcpStream, source: SocketAddr, destination: SocketAddr) {
        let planned = self.passes.plan(source.ip(), destination);
        let Some((Verdict::Dial(to), pass)) = planned else {
            return abort(&inner);
        };
        let Some(permits) = self.permits(&pass) else {
            return abort(&inner);
        };
        self.tasks.spawn(async move {
            let dialled = pass.ended.run_until_cancelled(TcpStream::connect(to)).await;
            match dialled {
                Some(Ok(outer)) => carry(&inner, &outer, &pass).await,
                _ => abort(&inner),
            }
            drop(permits);
        });
    }

    fn permits(&self, pass: &Pass) -> Option<Permits> {
        let permits = [&pass.connections, &self.room].map(|room| room.clone().try_acquire_owned().ok());
        let [Some(of_pod), Some(of_all)] = permits else {
            self.full.tell();
            return None;
        };
        Some([of_pod, of_all])
    }

    fn refuse(&self, knock: &Knock, refusal: Refusal) {
        if let Err(error) = self.outside.refuse(knock, refusal) {
            tracing::debug!(%error, "a pod is not told that it is refused");
        }
    }

    fn forget(&self, knock: &Knock) {
        self.waiting().remove(&(knock.source, knock.destination));
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<Ends, oneshot::Sender<TcpStream>>> {
        self.waiting.lock().expect("nothing panics while it holds who waits")
    }
}

/// Carries bytes until both sides have ended, or the pod may not any more.
async fn carry(inner: &TcpStream, outer: &TcpStream, pass: &Pass) {
    tune(inner);
    tune(outer);
    if pass.ended.run_until_cancelled(relay(inner, outer)).await.is_none() {
        abort(inner);
        abort(outer);
    }
}
