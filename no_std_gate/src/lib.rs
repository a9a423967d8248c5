//! See Cargo.toml.
#![no_std]

extern crate alloc;

use core::panic::PanicInfo;

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}

/// Pulls the crate in, so that it is linked and not only compiled.
pub fn parses_a_header(bytes: [u8; 48]) -> bool {
    iscsi_proto::pdu::Pdu::parse(&iscsi_proto::pdu::Bhs::from(bytes)).is_ok()
}
