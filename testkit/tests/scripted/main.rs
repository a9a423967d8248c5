//! Rows of the conformance and of the hostile-target tables, each a script that meets the real client.
//!
//! `docs/conformance.md` and `docs/threat-model.md` list them.

mod conformance;
mod hostile;
mod security;
mod support;
