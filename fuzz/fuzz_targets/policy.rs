#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| cedarwall_fuzz::policy::examine(input));
