//! What a pod that was put on the node is refused for before anything of it is made (kubelet's admit handlers).

use super::execute::{Execution, Refusal};
use super::{lsm, ports, sysctls};
use crate::model::Object;

impl Execution<'_> {
    /// Lets the pod in, and gives it what only one can have.
    ///
    /// # Errors
    /// It has to wait for ports of the host; or it may never run here, which is written into its status.
    pub(super) fn admit(&self) -> Result<(), Refusal> {
        let kind = self.object.kind();
        if let Some(clash) = ports::plan_clash(self.object, || self.rooms.store.list(kind, None).items) {
            let free = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
            return Err(Refusal::new("NodePorts", format!("{free}: {clash}")));
        }
        let host = &self.rooms.host;
        let of_sysctls = sysctls::plan_refusal(self.pod, &host.allowed_sysctls);
        let of_sysctls = of_sysctls.map(|why| Refusal::new(sysctls::FORBIDDEN, why));
        let of_modules = || lsm::plan_refusal(self.pod, host.modules).map(|why| Refusal::new(lsm::NOT_ADMITTED, why));
        let refusal = of_sysctls.or_else(of_modules).or_else(|| self.allocate_devices().err());
        refusal.map_or(Ok(()), |refusal| {
            self.reject(refusal.reason, &refusal.message);
            Err(refusal)
        })
    }

    /// Ends a pod for good that may not run here (kubelet `rejectPod`).
    fn reject(&self, reason: &str, message: &str) {
        let write = |pod: &mut Object| {
            let status = &mut pod.value_mut()["status"];
            status["phase"] = "Failed".into();
            status["reason"] = reason.into();
            status["message"] = format!("Pod was rejected: {message}").into();
            // Nothing of it ever was.
            for list in [
                "containerStatuses",
                "initContainerStatuses",
                "ephemeralContainerStatuses",
            ] {
                status.as_object_mut().and_then(|fields| fields.remove(list));
            }
        };
        // It may be gone.
        let _ = self.rooms.store.update_status(self.object.key(), write);
    }
}
