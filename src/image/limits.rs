//! How much an image may ask of this machine. Images are hostile input: every number that they choose is held against
//! one of these.

/// Bounds on what is read and written for one image. [`Limits::default`] argues each number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of an index, manifest or config, each of which is held in memory. 4 MiB is what containers/image takes;
    /// the largest in the wild (hundreds of layers with their history) are some hundred kilobytes.
    pub document: u64,
    /// Layers of an image: the kernel's `OVL_MAX_STACK`, beyond which it could not be mounted.
    pub layers: usize,
    /// Images in one archive or layout, so that an index cannot keep us busy for ever.
    pub images: usize,
    /// Files in an archive of images, whose names are held in memory while it is read.
    pub archive_files: usize,
    /// Entries of a layer. A whole Linux distribution has some 300,000; four million fill the inodes of a 64 GB ext4.
    pub entries: u64,
    /// Bytes of a layer once unpacked, holes included. Layers with a large language model reach some 100 GB.
    pub unpacked: u64,
    /// From here on the ratio is looked at: below, no bomb hurts, and a small layer of zeros is not unusual.
    pub ratio_from: u64,
    /// Unpacked bytes per packed byte. Real layers have 2 to 10; gzip can reach 1,032 and zstd far more.
    pub ratio: u64,
    /// Bytes of a path or link target: the kernel's `PATH_MAX`.
    pub path: usize,
    /// Components of a path. `node_modules` reach 40; each one costs system calls, and removal recurses.
    pub depth: usize,
    /// Bytes of one extended header (long name, pax records with xattrs), held in memory. The kernel allows an xattr
    /// 64 KiB and, on ext4, a file's xattrs together not much more.
    pub extended_header: u64,
    /// Directories of a layer that no entry describes, of which some bytes each are held in memory until the layer is complete.
    pub implied_dirs: usize,
    /// Bytes of their paths, which lie in a file until the layers below are there: 300 for each, where real ones have 50.
    pub implied_bytes: usize,
    /// Data segments of a sparse file, held in memory while it is written: 16 bytes each.
    pub segments: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            document: 4 << 20,
            layers: 500,
            images: 1_000,
            archive_files: 100_000,
            entries: 4_000_000,
            unpacked: 256 << 30,
            ratio_from: 4 << 30,
            ratio: 200,
            path: 4_096,
            depth: 256,
            extended_header: 1 << 20,
            implied_dirs: 50_000,
            implied_bytes: 15_000_000,
            segments: 262_144,
        }
    }
}
