//! Service accounts bound to those of a cloud: only reachable as a configured generator.

use super::Generate;
use crate::kustomize::decode::At;
use crate::kustomize::error::{Error, Result};
use crate::kustomize::loader::Loader;
use crate::kustomize::read::read_resources;
use crate::kustomize::resource::Resource;
use crate::kustomize::world::World;
use crate::kustomize::yaml::{FileId, Pos};

/// Makes a ServiceAccount.
#[derive(Debug, Clone, Default)]
pub struct IamPolicyGenerator {
    cloud: String,
    service_name: String,
    service_namespace: String,
    account_name: String,
    project: String,
    pos: Pos,
}

impl IamPolicyGenerator {
    /// Reads its configuration.
    ///
    /// # Errors
    /// If a field has another shape.
    pub fn of_plugin(at: At<'_>) -> Result<Self> {
        let mut read = Self {
            pos: at.pos(),
            ..Self::default()
        };
        for (name, value) in at.open_record(&["cloud", "kubernetesService", "serviceAccount"])?.0 {
            if name == "cloud" {
                read.cloud = value.text()?;
                continue;
            }
            for (field, value) in value.open_record(&["name", "namespace", "projectId"])?.0 {
                match (name, field) {
                    ("kubernetesService", "name") => read.service_name = value.text()?,
                    ("kubernetesService", "namespace") => read.service_namespace = value.text()?,
                    ("serviceAccount", "name") => read.account_name = value.text()?,
                    ("serviceAccount", "projectId") => read.project = value.text()?,
                    _ => {}
                }
            }
        }
        Ok(read)
    }
}

impl Generate for IamPolicyGenerator {
    fn generate(&self, world: &mut World<'_>, _: &Loader) -> Result<Vec<Resource>> {
        if self.cloud != "gke" {
            let why = format!("cloud provider {} not supported yet", self.cloud);
            return Err(Error::kustomization(why).at(self.pos));
        }
        let mut text = format!(
            "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  annotations:\n    \
             iam.gke.io/gcp-service-account: {}@{}.iam.gserviceaccount.com\n  name: {}\n",
            self.account_name, self.project, self.service_name
        );
        if !self.service_namespace.is_empty() {
            text.push_str(&format!("  namespace: {}\n", self.service_namespace));
        }
        read_resources(&mut world.graph, &text, FileId::default()).map_err(|error| Error {
            pos: Some(self.pos),
            ..error
        })
    }

    fn kind(&self) -> &'static str {
        "IAMPolicyGenerator"
    }
}
