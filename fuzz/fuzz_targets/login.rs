//! No full feature phase without the authentication that was required.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| iscsi_proto::login::fuzz_login(data));
