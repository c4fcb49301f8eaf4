#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| roomcast::fuzzing::run("queue", input));
