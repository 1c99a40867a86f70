//! A function for `benches/peers/node_binding.mjs`; packages are built without it.

use napi_derive::napi;

/// Takes a text and gives another back: what any bound function costs.
#[napi]
pub fn echo(_text: String, back: String) -> String {
    back
}
