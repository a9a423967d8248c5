//! However a stream is cut into reads, the same PDUs come out; every header reads back as written.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    iscsi_proto::framing::fuzz_stream(data);
    data.chunks(48).for_each(iscsi_proto::pdu::fuzz_roundtrip);
});
