//! How answers look to a person.

pub(crate) mod event;
