//! Words everybody speaks.
