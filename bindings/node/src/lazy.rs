//! [`Lazy`]: a store that opens at its first use.

use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;
use jarvis_core::{Jarvis, Result};

type Open<T> = for<'a> fn(&'a Jarvis) -> BoxFuture<'a, Result<Arc<T>>>;

/// A store of a handle, opened at its first use.
#[derive(Debug)]
pub(crate) struct Lazy<T: ?Sized> {
    jarvis: Jarvis,
    open: Open<T>,
    opened: Arc<OnceLock<Arc<T>>>,
}

impl<T: ?Sized> Clone for Lazy<T> {
    fn clone(&self) -> Self {
        let Self { jarvis, open, opened } = self;
        Self { jarvis: jarvis.clone(), open: *open, opened: Arc::clone(opened) }
    }
}

impl<T: ?Sized> Lazy<T> {
    pub(crate) fn new(jarvis: Jarvis, open: Open<T>) -> Self {
        Self { jarvis, open, opened: Arc::default() }
    }

    /// The store, if it is open.
    pub(crate) fn opened(&self) -> Option<&T> {
        self.opened.get().map(|store| &**store)
    }

    /// The store, opened where it is not.
    pub(crate) async fn get(&self) -> Result<&T> {
        if let Some(store) = self.opened() {
            return Ok(store);
        }
        let store = (self.open)(&self.jarvis).await?;
        Ok(&**self.opened.get_or_init(|| store))
    }
}
