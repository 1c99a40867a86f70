//! The loop that heals.
