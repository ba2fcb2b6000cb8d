//! A hash that is the same on every machine and under every version: FNV-1a, 32 bits. Names and places are chosen by it, nothing is secured.

/// The number of what was written to it.
#[derive(Debug, Clone, Copy)]
pub struct Fnv(u32);

impl Default for Fnv {
    fn default() -> Self {
        Self(0x811c_9dc5)
    }
}

impl Fnv {
    /// Takes in bytes.
    pub fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    }

    /// The number.
    pub fn finish(self) -> u32 {
        self.0
    }

    /// The number of a text.
    pub fn of(text: &str) -> u32 {
        let mut hash = Self::default();
        hash.write(text.as_bytes());
        hash.0
    }
}
