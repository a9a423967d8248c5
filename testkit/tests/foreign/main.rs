//! Initiators that nobody here wrote, against the test target: the tools of libiscsi, QEMU's block
//! driver, and libiscsi's test suite for targets.
//!
//! They keep the target honest: where it misreads a standard, our own initiator may misread it in the
//! same way, and these do not. `docs/interop.md` has the matrix. A tool that is not installed makes
//! its tests say so on stderr and do nothing, unless `ISCSI_INTEROP=require` is set: then they fail.

mod chap;
mod digests;
mod discovery;
mod inquiries;
mod qemu_img;
mod qemu_io;
mod support;
mod table;
mod test_cu;
mod tool;
