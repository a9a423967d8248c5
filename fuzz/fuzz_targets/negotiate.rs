#![no_main]

#[global_allocator]
static ALLOCATOR: &stats_alloc::StatsAlloc<std::alloc::System> =
    iscsi_fuzz_bodies::memory::ALLOCATOR;

libfuzzer_sys::fuzz_target!(|data: &[u8]| iscsi_fuzz_bodies::negotiate(data));
