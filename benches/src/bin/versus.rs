//! Compares towpath with a bare multiplexer and with others; see `docs/benchmarks.md`.

#[global_allocator]
static ALLOCATOR: towpath_benches::alloc::Switched = towpath_benches::alloc::Switched;

fn main() -> Result<(), towpath_benches::Failure> {
    towpath_benches::versus::main()
}
