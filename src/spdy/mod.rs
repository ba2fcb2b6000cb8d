//! SPDY/3.1, as much of it as Kubernetes' streams use: `exec`, `attach` and `port-forward` of kubectl and of the libraries it is made of.
//!
//! Many streams of bytes, each with headers of its own, in one connection. Browsers gave the protocol up for HTTP/2; Kubernetes' clients
//! speak it still, straight or inside of a WebSocket. What Go's `moby/spdystream`, which all of them use, does not do is not here either:
//! flow control, priorities, settings. `frame` and `header` are pure; `session` carries bytes.
//! The room knows nothing of pods, HTTP or Kubernetes. The one library there is ("spdy-mux") has a licence that does not fit ours.
//!
//! Without flow control a stream whose reader is slow can only be bounded by reading no more from the connection: a stream holds so many
//! chunks, and whatever else is on the connection waits with it, as it does with Go's.

mod frame;
mod header;
mod session;
#[cfg(test)]
mod tests;

pub use frame::decode;
pub use header::Headers;
pub use session::{Client, Input, Output, Reset, Stream, connect, serve};

/// Why a connection can't go on.
#[derive(Debug, thiserror::Error)]
pub enum SpdyError {
    /// A version of the protocol other than 3.
    #[error("SPDY version {0} is not spoken here")]
    Version(u16),
    /// A control frame that is longer than any need be.
    #[error("a control frame of {0} bytes")]
    TooLong(usize),
    /// A control frame that is too short for its kind.
    #[error("a control frame of type {0} ends too early")]
    Short(u16),
    /// Headers that can't be unpacked, or that say more than there is.
    #[error("the headers of a stream can't be read")]
    Headers,
    /// More headers than anybody has.
    #[error("the headers of a stream are too large")]
    TooManyHeaders,
    /// A stream with a number that is not the opener's to give, or not higher than the last.
    #[error("stream {0} can't be opened")]
    BadStream(u32),
    /// More streams at once than one client needs.
    #[error("too many streams")]
    TooManyStreams,
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}
