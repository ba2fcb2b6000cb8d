//! Controllers: objects → objects.
