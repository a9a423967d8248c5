//! The one form in which a request ends.

use crate::error::Error;

/// How a request ended, and its buffer: it comes back on failure too, so that a caller with a pool
/// of buffers never loses one.
#[derive(Debug)]
#[must_use = "a completion holds the outcome and the buffer"]
pub struct Completion<B> {
    /// The outcome of the whole request.
    pub result: Result<(), Error>,
    /// The buffer that was moved in, with the segments and lengths that it had.
    pub buf: B,
}

impl<B> Completion<B> {
    /// A success.
    pub const fn ok(buf: B) -> Self {
        Self {
            result: Ok(()),
            buf,
        }
    }

    /// A failure.
    pub const fn err(error: Error, buf: B) -> Self {
        Self {
            result: Err(error),
            buf,
        }
    }

    /// The buffer of a success. A failure's buffer is dropped: match on the fields to keep it.
    ///
    /// # Errors
    ///
    /// The request's own.
    pub fn into_result(self) -> Result<B, Error> {
        self.result.map(|()| self.buf)
    }
}
