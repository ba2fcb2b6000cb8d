//! The terminal: raw while a session runs, as it was afterwards.

use kube::api::TerminalSize;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

use super::error::Result;

/// Whether standard input is a terminal.
pub fn is_terminal() -> bool {
    isatty(std::io::stdin())
}

/// Its size; `None` where there is none.
pub fn size() -> Option<TerminalSize> {
    let size = tcgetwinsize(std::io::stdout())
        .or_else(|_| tcgetwinsize(std::io::stdin()))
        .ok()?;
    Some(TerminalSize {
        width: size.ws_col,
        height: size.ws_row,
    })
}

/// Every key goes to the container, Ctrl-C included, until this is dropped.
pub struct RawMode {
    before: Termios,
}

impl RawMode {
    /// Makes the terminal at standard input raw.
    ///
    /// # Errors
    /// When it is none.
    pub fn enter() -> Result<Self> {
        let before = tcgetattr(std::io::stdin()).map_err(std::io::Error::from)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).map_err(std::io::Error::from)?;
        Ok(Self { before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that is gone needs no mode.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}
