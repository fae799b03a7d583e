//! The lines of JSON that are printed.

use crate::args::{Args, Stack};
use towpath_benches::{alloc, meter::Measured, process::cpu_seconds, side::Side};

/// What the client saw.
pub(crate) fn print_client(args: &Args, measured: &Measured) {
    let variant = match (args.stack, args.workers) {
        (Stack::Bare, None) => "bare-ct".to_owned(),
        (Stack::Full, None) => "full-ct".to_owned(),
        (Stack::Bare, Some(n)) => format!("bare-mt{n}"),
        (Stack::Full, Some(n)) => format!("full-mt{n}"),
    };
    let fields = [
        ("peer", "\"towpath\"".to_owned()),
        ("variant", format!("\"{variant}\"")),
        ("conns", args.conns.to_string()),
        ("inflight", args.inflight.to_string()),
        ("payload", args.payload.to_string()),
        ("secs", format!("{:.3}", measured.seconds)),
        ("calls", measured.calls.to_string()),
        ("cps", format!("{:.0}", measured.per_second())),
        ("p50_us", format!("{:.1}", measured.p50_us)),
        ("p99_us", format!("{:.1}", measured.p99_us)),
        ("p999_us", format!("{:.1}", measured.p999_us)),
        ("max_us", format!("{:.1}", measured.max_us)),
        ("client_us_per_call", number(measured.client_us)),
        ("server_us_per_call", number(measured.server_us)),
        ("cpu_us_per_call", number(measured.client_us + measured.server_us)),
        ("client_allocs_per_call", number(measured.per_call(measured.allocated.count))),
        ("client_alloc_bytes_per_call", number(measured.per_call(measured.allocated.bytes))),
    ];
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    println!("{{{}}}", fields.join(","));
}

/// The server's last line: what it used in all.
pub(crate) fn print_server() {
    println!(
        "{{\"server_allocs\":{},\"server_total_cpu_s\":{}}}",
        alloc::allocated(Side::Client).count,
        number(cpu_seconds("self"))
    );
}

fn number(value: f64) -> String {
    if value.is_finite() { format!("{value:.4}") } else { "null".to_owned() }
}
