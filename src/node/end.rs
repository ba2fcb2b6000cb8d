//! How the node's work ends: who may say so, and in which order.

use jiff::SignedDuration;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Failure;
use crate::model::Paths;
use crate::pod::{Ends, Graces};

/// What the node takes besides when pods end with it: more than the kernel needs to end what was killed.
const MARGIN: SignedDuration = SignedDuration::from_secs(15);

/// Says that the node is ready, and when it is told to end that it ends, and how long that may take: systemd would wait 90
/// seconds (`TimeoutStopSec=`), whatever the settings give to pods.
pub(super) async fn until_told_to_end(
    ended: watch::Receiver<Option<bool>>,
    graces: Option<Graces>,
) -> Result<Option<Graces>, Failure> {
    // Without systemd there is nobody to tell.
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    let ends_pods = until_end(ended, graces).await?;
    let extended = ends_pods.and_then(Graces::total).map(|total| {
        let micros = total.saturating_add(MARGIN).as_micros();
        NotifyState::ExtendTimeoutUsec(u32::try_from(micros).unwrap_or(u32::MAX))
    });
    let said: Vec<NotifyState<'_>> = [Some(NotifyState::Stopping), extended].into_iter().flatten().collect();
    let _ = sd_notify::notify(&said);
    Ok(ends_pods)
}

/// Waits for a signal or a word through the API. What pods get if they are to end too: `of_shutdown` when whoever starts and stops
/// services ends this one.
async fn until_end(
    mut asked: watch::Receiver<Option<bool>>,
    of_shutdown: Option<Graces>,
) -> Result<Option<Graces>, Failure> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => Ok(of_shutdown),
        _ = interrupt.recv() => Ok(None),
        word = asked.wait_for(Option::is_some) => {
            let ends_pods = word.is_ok_and(|word| *word == Some(true));
            Ok(ends_pods.then(Graces::default))
        }
    }
}

/// Ends all that works, and the pods before it if they are to end.
pub(super) async fn wind_down(
    ends_pods: Option<Graces>,
    ends: &Ends,
    pods: JoinHandle<()>,
    mut tasks: Vec<JoinHandle<()>>,
    paths: &Paths,
) -> Result<(), Failure> {
    if let Some(graces) = ends_pods {
        ends.drain.begin(graces);
        // All others go on meanwhile: whoever looks sees the pods end.
        pods.await?;
    } else {
        tasks.push(pods);
    }
    // Before any connection ends, so that clients can tell this from a node that was killed; and before the lock is free, so
    // that whoever finds it free finds no dead socket.
    let _ = std::fs::remove_file(&paths.api_socket);
    ends.stop.cancel();
    for task in tasks {
        task.await?;
    }
    Ok(())
}
