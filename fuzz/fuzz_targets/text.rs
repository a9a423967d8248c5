//! `key=value` text: what is read, written and read again is the same.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| iscsi_proto::text::fuzz_text(data));
