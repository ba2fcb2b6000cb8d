//! What a pod that was put on the node is refused for before anything of it is made (kubelet's admit handlers).

use super::execute::{Execution, Refusal};
use super::{lsm, ports, reject};

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
        let rejected = reject::plan(self.rooms, self.object, self.pod).map(|(reason, why)| Refusal::new(reason, why));
        let of_modules = || {
            let refusal = lsm::plan_refusal(self.pod, self.rooms.host.modules);
            refusal.map(|why| Refusal::new(lsm::NOT_ADMITTED, why))
        };
        let refusal = rejected.or_else(of_modules).or_else(|| self.allocate_devices().err());
        refusal.map_or(Ok(()), |refusal| {
            reject::carry_out(self.rooms, self.object, &refusal.message, refusal.reason);
            Err(refusal)
        })
    }
}
