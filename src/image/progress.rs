//! How far a pull is, counted where the bytes pass and looked at by whoever draws bars. Nobody is woken by it.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::digest::Digest;

/// What becomes of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LayerPhase {
    /// Its turn has not come.
    Waiting,
    /// It comes, and is unpacked while it does.
    Pulling,
    /// It is here.
    Here,
}

/// How far a layer is.
#[derive(Debug)]
pub struct LayerProgress {
    digest: Digest,
    size: u64,
    received: AtomicU64,
    phase: AtomicU8,
}

impl LayerProgress {
    /// A layer whose turn has not come.
    pub(super) fn new(digest: Digest, size: u64) -> LayerProgress {
        LayerProgress {
            digest,
            size,
            received: AtomicU64::new(0),
            phase: AtomicU8::new(0),
        }
    }

    /// Counts bytes that came.
    pub(super) fn add(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// It begins, with what an earlier pull left.
    pub(super) fn begin(&self, received: u64) {
        self.received.store(received, Ordering::Relaxed);
        self.phase.store(1, Ordering::Relaxed);
    }

    /// It is here.
    pub(super) fn end(&self) {
        self.phase.store(2, Ordering::Relaxed);
    }

    /// How many bytes were counted.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    fn state(&self) -> LayerState {
        let phase = match self.phase.load(Ordering::Relaxed) {
            0 => LayerPhase::Waiting,
            1 => LayerPhase::Pulling,
            _ => LayerPhase::Here,
        };
        let received = self.received().min(self.size);
        LayerState {
            digest: self.digest.to_string(),
            size: self.size,
            received: if phase == LayerPhase::Here { self.size } else { received },
            phase,
        }
    }
}

/// A layer at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LayerState {
    /// The digest of its packed form.
    pub digest: String,
    /// Bytes of its packed form.
    pub size: u64,
    /// How many of them are here.
    pub received: u64,
    /// What becomes of it.
    pub phase: LayerPhase,
}

/// How far a pull is.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// None until the manifest is known.
    layers: Mutex<Vec<Arc<LayerProgress>>>,
}

impl Progress {
    /// Tells which layers there are; another registry's may be others.
    pub(super) fn set(&self, layers: Vec<Arc<LayerProgress>>) {
        *self.layers.lock().unwrap_or_else(PoisonError::into_inner) = layers;
    }

    /// All layers at this moment.
    pub(super) fn now(&self) -> Vec<LayerState> {
        let layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        layers.iter().map(|layer| layer.state()).collect()
    }
}
