//! What backends share.
