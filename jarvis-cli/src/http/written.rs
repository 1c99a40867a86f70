//! A body that is written while it is sent, so that a text of megabytes is never in memory as a
//! whole.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use jarvis_core::{Error, Result};
use tokio::sync::mpsc;

/// The size of one piece, in bytes.
const PIECE: usize = 64 * 1_024;

/// So many pieces may wait to be sent.
const AHEAD: usize = 2;

/// The receiving end.
#[derive(Debug)]
pub(super) struct Written(mpsc::Receiver<Result<Bytes>>);

impl Written {
    /// Runs `write` on a thread that may block, no faster than the body is read. Ends it when the
    /// body is dropped. An error breaks the body off, so that the client sees that it is not whole.
    pub(super) fn by(write: impl FnOnce(&mut Pieces) -> Result<()> + Send + 'static) -> Self {
        let (sender, receiver) = mpsc::channel(AHEAD);
        tokio::task::spawn_blocking(move || {
            let mut pieces = Pieces { sender, piece: String::with_capacity(PIECE) };
            let rest = match write(&mut pieces) {
                Ok(()) => Ok(std::mem::take(&mut pieces.piece).into()),
                Err(error) => Err(error),
            };
            // Who went away wants no rest.
            drop(pieces.sender.blocking_send(rest));
        });
        Self(receiver)
    }
}

impl Body for Written {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>>>> {
        self.0.poll_recv(context).map(|piece| Some(piece?.map(Frame::data)))
    }
}

/// Where the text goes.
#[derive(Debug)]
pub(super) struct Pieces {
    sender: mpsc::Sender<Result<Bytes>>,
    piece: String,
}

impl fmt::Write for Pieces {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if !self.piece.is_empty() && self.piece.len() + text.len() > PIECE {
            let full = std::mem::replace(&mut self.piece, String::with_capacity(PIECE));
            self.sender.blocking_send(Ok(full.into())).map_err(|_| fmt::Error)?;
        }
        self.piece.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use http_body_util::BodyExt;
    use jarvis_core::ErrorKind;

    use super::*;

    #[tokio::test]
    async fn all_of_it_arrives_in_order() {
        let mut expected = String::new();
        (0..40_000).for_each(|number| expected.push_str(&format!("line {number}\n")));
        let text = expected.clone();
        let body = Written::by(move |to| {
            text.split_inclusive('\n').try_for_each(|line| to.write_str(line)).unwrap();
            Ok(())
        });
        let got = body.collect().await.unwrap().to_bytes();
        assert!(got == expected.as_bytes(), "{} of {} bytes", got.len(), expected.len());
    }

    #[tokio::test]
    async fn an_error_breaks_it_off() {
        let body = Written::by(|to| {
            to.write_str("half").unwrap();
            Err(Error::new(ErrorKind::Internal, "no more"))
        });
        assert_eq!(body.collect().await.unwrap_err().kind(), ErrorKind::Internal);
    }

    #[tokio::test]
    async fn who_goes_away_ends_the_writing() {
        let (sender, told) = tokio::sync::oneshot::channel();
        let body = Written::by(move |to| {
            while to.write_str("more").is_ok() {}
            sender.send(()).unwrap();
            Ok(())
        });
        drop(body);
        told.await.unwrap();
    }
}
