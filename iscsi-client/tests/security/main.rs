//! Secrets and where they must not be: rows K-01 and K-02 of `docs/threat-model.md`.
//!
//! What these tests show is printed, and the output of the whole suite is searched for the secrets afterwards
//! (`iscsi_testkit::canary`).

mod memory;
mod shown;
