//! What can be said on the command line.

use crate::{place::Place, span};
use clap::{Args as Group, Parser, Subcommand, ValueEnum};
use std::{path::PathBuf, time::Duration};
use towpath::{Address, Algorithm, CodecId, Compression};

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  the service answered with a fault (it is on stderr, as JSON), or something here went wrong
  2  the command line makes no sense: bad address, body, header, duration
  3  the service was not reached in the time there was (--timeout included), or the connection was lost
  4  the deadline passed without an answer, or the service says that it did (on stderr, as JSON)";

/// Calls services over MCP (the Microservice Communication Protocol) from a shell.
#[derive(Debug, Parser)]
#[command(name = "towpath", version, after_help = EXIT_CODES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Call a method; its result goes to stdout
    Call(CallArgs),
    /// Measure round trips to a service
    Ping(PingArgs),
    /// List the methods of a service
    Methods(MethodsArgs),
    /// Show the endpoints of a service, and how they are
    Endpoints(EndpointsArgs),
    /// Show what the clients and servers of a process do, by its admin interface
    Top(TopArgs),
    /// Call a method as often as it goes, or at a rate, and measure
    Bench(BenchArgs),
    /// Serve a few methods to try things on
    Serve(ServeArgs),
    /// Keep a registry, in which services say that they are there
    Registry(RegistryArgs),
}

#[derive(Debug, Group)]
#[command(
    after_help = EXIT_CODES,
    after_long_help = format!("{EXIT_CODES}\n
Examples:
  towpath call mcp://127.0.0.1:8080 UserService.GetUserInfo '{{\"id\": 1001}}'
  towpath call mcp://127.0.0.1:8080 OrderService.Place @order.json --timeout 2s -H tenant:acme
  some-program | towpath call mcp://127.0.0.1:8080 Echo.Echo - --codec raw"),
)]
pub(crate) struct CallArgs {
    /// Where the service is: mcp://host:port, mcps://host:port, mcp+unix:/path; or many endpoints: mcp://a:8080,b:8080,
    /// file:/etc/orders.toml, dns://orders:8080, dns+srv://_mcp._tcp.orders, registry://host:port/service
    #[arg(value_name = "URL")]
    pub(crate) address: Place,

    #[command(flatten)]
    pub(crate) tls: TlsArgs,

    #[command(flatten)]
    pub(crate) token: TokenArgs,

    /// What to call: Service.Method
    #[arg(value_name = "METHOD", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) method: String,

    /// The body: the text itself, @FILE, or - for stdin
    ///
    /// Without one, JSON has null and raw has nothing.
    #[arg(value_name = "JSON|@FILE|-", allow_negative_numbers = true)]
    pub(crate) body: Option<String>,

    /// How long it may take, the connecting included: 500ms, 5s, 1m
    ///
    /// A peer that is silent for 15s, a PING included, counts as lost before that (exit code 3).
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = span::parse)]
    pub(crate) timeout: Duration,

    /// A metadata entry; can be given more than once, with different keys
    #[arg(short = 'H', long = "header", value_name = "KEY:VALUE", value_parser = header)]
    pub(crate) headers: Vec<(String, String)>,

    /// How the body is encoded; an answer in JSON gets a line end, any other is written as it came
    #[arg(long, value_enum, default_value_t = Codec::Json)]
    pub(crate) codec: Codec,

    /// Have the call accepted first, and wait for its outcome then
    #[arg(long = "async", conflicts_with = "one_way")]
    pub(crate) asynchronous: bool,

    /// Want no answer: done when it is sent
    #[arg(long)]
    pub(crate) one_way: bool,

    /// Take an answer compressed, if the service can do that
    #[arg(long, value_enum, value_name = "ALGORITHM")]
    pub(crate) compress: Option<Compress>,
}

#[derive(Debug, Group)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct PingArgs {
    /// Where the service is: mcp://host:port, mcps://host:port, mcp+unix:/path
    #[arg(value_name = "URL")]
    pub(crate) address: Address,

    #[command(flatten)]
    pub(crate) tls: TlsArgs,

    /// How many round trips
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) count: u32,

    /// How long to wait between two
    #[arg(long, value_name = "TIME", default_value = "200ms", value_parser = span::parse)]
    pub(crate) interval: Duration,

    /// How long to wait for each
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = span::parse)]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Group)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct MethodsArgs {
    /// Where the service is: mcp://host:port, mcps://host:port, mcp+unix:/path; or many endpoints: mcp://a:8080,b:8080,
    /// file:/etc/orders.toml, dns://orders:8080, dns+srv://_mcp._tcp.orders, registry://host:port/service
    #[arg(value_name = "URL")]
    pub(crate) address: Place,

    #[command(flatten)]
    pub(crate) tls: TlsArgs,

    #[command(flatten)]
    pub(crate) token: TokenArgs,

    /// How long it may take, the connecting included
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = span::parse)]
    pub(crate) timeout: Duration,

    /// The list as it came: JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Group)]
#[command(
    after_help = "Without --rate, each call follows the one before it as soon as that is answered (a closed loop). \
With --rate, calls have their times, and latency counts from when a call should have been sent: a service that \
falls behind cannot hide it. Calls that were not sent when the time was up count as failed, and as having waited \
until then. Every call counts, whatever its outcome; those in flight at the end are waited for.

Exit codes: 0 if no call failed; else that of the most frequent failure: 1 a fault or a call not sent, 3 not \
reached or connection lost, 4 deadline; 2 wrong usage."
)]
pub(crate) struct BenchArgs {
    /// Where the service is: mcp://host:port, mcps://host:port, mcp+unix:/path; or many endpoints: mcp://a:8080,b:8080,
    /// file:/etc/orders.toml, dns://orders:8080, dns+srv://_mcp._tcp.orders, registry://host:port/service
    #[arg(value_name = "URL")]
    pub(crate) address: Place,

    #[command(flatten)]
    pub(crate) tls: TlsArgs,

    #[command(flatten)]
    pub(crate) token: TokenArgs,

    /// What to call: Service.Method
    #[arg(value_name = "METHOD", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) method: String,

    /// The body: the text itself, @FILE, or - for stdin
    #[arg(value_name = "JSON|@FILE|-", allow_negative_numbers = true)]
    pub(crate) body: Option<String>,

    /// How many connections
    #[arg(long, value_name = "C", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) connections: u32,

    /// How many calls at a time on each of them
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(crate) inflight: u32,

    /// For how long: 10s, 1m
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = span::parse)]
    pub(crate) duration: Duration,

    /// Calls per second, over all connections
    #[arg(long, value_name = "R", value_parser = rate)]
    pub(crate) rate: Option<f64>,

    /// How long a call may take
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = span::parse)]
    pub(crate) timeout: Duration,

    /// A metadata entry; can be given more than once
    #[arg(short = 'H', long = "header", value_name = "KEY:VALUE", value_parser = header)]
    pub(crate) headers: Vec<(String, String)>,

    /// How the body is encoded
    #[arg(long, value_enum, default_value_t = Codec::Json)]
    pub(crate) codec: Codec,

    /// Compress bodies from 1 KiB on, each way, if the service can do that
    #[arg(long, value_enum, value_name = "ALGORITHM")]
    pub(crate) compress: Option<Compress>,

    /// The result as JSON, times in microseconds
    #[arg(long)]
    pub(crate) json: bool,

    /// Draw latency by percentile into a file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}

#[derive(Debug, Group)]
#[command(
    after_help = "The first line on stdout says where it listens. SIGTERM and SIGINT drain it: it takes \
nothing new, finishes what was accepted (30s at most), and exits with 0; a second one during that ends it at once, \
with 1. SIGHUP has it read its certificates again, for connections that come after it. RUST_LOG sets what is logged to stderr.

Methods:
  Echo.Echo                any body, which comes back in its codec
  UserService.GetUserInfo  {\"id\": n}: a user with that id
  Debug.Sleep              {\"ms\": n}: answers after so long
  Debug.Fail               {\"code\": \"ORD-E-102\", \"message\": \"…\", \"cause\": \"USR-E-001\"}: that fault"
)]
pub(crate) struct ServeArgs {
    /// Where to listen: host:port, mcp://host:port, mcps://host:port, mcp+unix:/path; port 0 takes a free one
    #[arg(long, value_name = "URL|HOST:PORT", default_value = "127.0.0.1:8080")]
    pub(crate) listen: String,

    /// The permissions of the Unix socket's file, in octal; who may write to it may connect
    #[arg(long, value_name = "OCTAL", default_value = "600", value_parser = mode)]
    pub(crate) mode: u32,

    /// Take the listening socket over from the `towpath serve` that was started with the same path, and offer it there
    /// to the next one; the old one drains, and no connection is refused
    #[arg(long, value_name = "PATH")]
    pub(crate) handover: Option<PathBuf>,

    /// Register in a registry while it serves: registry://host:port/service; can be given more than once
    #[arg(long, value_name = "URL")]
    pub(crate) register: Vec<String>,

    #[command(flatten)]
    pub(crate) tls: ServerTlsArgs,

    /// Compress answers from 1 KiB on for callers that can read them, and read compressed requests
    #[arg(long, value_enum, value_name = "ALGORITHM")]
    pub(crate) compress: Option<Compress>,
}

#[derive(Debug, Group)]
#[command(
    after_help = "Services register themselves (in Rust by ServerBuilder::register, else as docs/registry.md says) and \
clients find them at registry://HOST:PORT/SERVICE. What is registered is kept in memory: after a restart everybody registers \
again, and until then clients keep what they know.

The first line on stdout says where it listens. SIGTERM and SIGINT drain it, and it exits with 0; a second one during that \
ends it at once, with 1. Who comes and goes is logged to stderr; RUST_LOG=warn leaves only those whose lease ran out.

  towpath call mcp://127.0.0.1:7700 Registry.Services          which services there are
  towpath endpoints registry://127.0.0.1:7700/orders           how the endpoints of one are"
)]
pub(crate) struct RegistryArgs {
    /// Where to listen: host:port, mcp://host:port, mcps://host:port, mcp+unix:/path; port 0 takes a free one
    #[arg(long, value_name = "URL|HOST:PORT", default_value = "127.0.0.1:7700")]
    pub(crate) listen: String,

    /// The permissions of the Unix socket's file, in octal; who may write to it may connect
    #[arg(long, value_name = "OCTAL", default_value = "600", value_parser = mode)]
    pub(crate) mode: u32,

    /// How often those who are registered have to say that they are still there
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = span::parse)]
    pub(crate) heartbeat: Duration,

    /// After how many of these times without a word one is taken out
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) missed: u32,

    #[command(flatten)]
    pub(crate) tls: ServerTlsArgs,
}

#[derive(Debug, Group)]
#[command(
    after_help = EXIT_CODES,
    after_long_help = format!("{EXIT_CODES}\n
Examples:
  towpath top http://127.0.0.1:9900
  towpath top http://127.0.0.1:8080/admin --once"),
)]
pub(crate) struct TopArgs {
    /// The page of the admin interface: http://127.0.0.1:9900, or with the path under which it is nested
    #[arg(value_name = "URL")]
    pub(crate) url: String,

    /// Print it once, as text (so it does where stdout is no terminal)
    #[arg(long)]
    pub(crate) once: bool,

    /// How often it is asked
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = span::parse)]
    pub(crate) interval: Duration,

    /// How long an answer may take
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = span::parse)]
    pub(crate) timeout: Duration,

    #[command(flatten)]
    pub(crate) token: TokenArgs,
}

#[derive(Debug, Group)]
#[command(
    after_help = "Looked at from here: each endpoint is asked by PING, over a connection of its own. STATUS is ready, \
down (with the time since then, and the reason below), draining (as the registry says) or asking. PING is the last round trip, \
EWMA the same smoothed over some 10s, LOST how many had no answer. IN FLIGHT and QUEUE are what an endpoint says of \
itself, with --load, if it does. What a process that calls these endpoints thinks of them (its connections, breakers, own calls in \
flight) it knows alone: in Rust, Client::endpoints() tells.

Without --once it goes on until Ctrl-C, and ends with 0: on a terminal the table is drawn again and again, else one \
table (or, with --json, one line) follows another.

Exit codes with --once: 0 if at least one is ready; 3 if none is, or if nobody said which endpoints there are; 2 wrong usage."
)]
pub(crate) struct EndpointsArgs {
    /// Where they are listed: mcp://a:8080,b:8080 (or one), file:/etc/orders.toml, dns://orders:8080, dns+srv://_mcp._tcp.orders,
    /// registry://host:port/service
    #[arg(value_name = "URL")]
    pub(crate) url: String,

    /// Look at each of them once
    #[arg(long)]
    pub(crate) once: bool,

    /// As JSON, one object a line, times in microseconds
    #[arg(long)]
    pub(crate) json: bool,

    /// Ask each what it has in work, by a call of mcp.Methods
    #[arg(long)]
    pub(crate) load: bool,

    /// How often each is looked at
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = span::parse)]
    pub(crate) interval: Duration,

    /// How long a look may take (no longer than the interval), and with --once how long the list may
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = span::parse)]
    pub(crate) timeout: Duration,

    #[command(flatten)]
    pub(crate) tls: TlsArgs,

    #[command(flatten)]
    pub(crate) token: TokenArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compress {
    /// Cheap
    Lz4,
    /// Smaller
    Zstd,
}

impl Compress {
    pub(crate) fn compression(self) -> Compression {
        Compression::new(match self {
            Compress::Lz4 => Algorithm::Lz4,
            Compress::Zstd => Algorithm::Zstd,
        })
    }
}

/// For addresses of mcps://.
#[derive(Debug, Default, Group)]
#[command(next_help_heading = "TLS (mcps://)")]
pub(crate) struct TlsArgs {
    /// Trust servers with a certificate of this CA, in PEM (the system's are often in
    /// /etc/ssl/certs/ca-certificates.crt)
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,

    /// The certificate of this client, in PEM, for a server that asks for one
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) cert: Option<PathBuf>,

    /// The certificate's private key, in PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,

    /// The name that the server's certificate has to be for, in place of the address's host
    #[arg(long, value_name = "NAME")]
    pub(crate) server_name: Option<String>,
}

/// For who listens.
#[derive(Debug, Default, Group)]
#[command(next_help_heading = "TLS")]
pub(crate) struct ServerTlsArgs {
    /// Serve TLS: the certificate of this server, in PEM, with those between it and its CA
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) cert: Option<PathBuf>,

    /// The certificate's private key, in PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,

    /// Let in only clients with a certificate of this CA, in PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) client_ca: Option<PathBuf>,

    /// Let in clients without a certificate as well
    #[arg(long, requires = "client_ca")]
    pub(crate) client_cert_optional: bool,
}

/// For services that ask who calls. There is no option with the token itself: others would see it in the list of
/// processes, and the shell would keep it.
#[derive(Debug, Default, Group)]
#[command(next_help_heading = "Credential")]
pub(crate) struct TokenArgs {
    /// Send the bearer token that is in this environment variable (plain to see on the way, unless over mcps://)
    #[arg(long, value_name = "VARIABLE", conflicts_with = "token_file")]
    pub(crate) token_env: Option<String>,

    /// Send the bearer token that is in this file; blanks around it are not part of it
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Codec {
    /// JSON; it is checked before it is sent
    Json,
    /// Bytes as they are
    Raw,
}

impl Codec {
    pub(crate) fn id(self) -> CodecId {
        match self {
            Codec::Json => CodecId::JSON,
            Codec::Raw => CodecId::RAW,
        }
    }
}

/// `key:value`; blanks around the value are not part of it.
fn header(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once(':').ok_or("there is no colon; it looks like tenant:acme")?;
    towpath::Metadata::new().insert(key, value).map_err(|why| why.to_string())?;
    Ok((key.to_owned(), value.trim().to_owned()))
}

/// Permissions of a file.
fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err("it is no octal number up to 777".to_owned()),
    }
}

/// Calls per second.
fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.001..=10_000_000.0).contains(&rate) => Ok(rate),
        Ok(_) => Err("it is not between 0.001 and 10000000".to_owned()),
        Err(_) => Err("it is no number".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn headers() {
        assert_eq!(header("tenant:acme").unwrap(), ("tenant".into(), "acme".into()));
        assert_eq!(header("a: b:c ").unwrap(), ("a".into(), "b:c".into()));
        assert_eq!(header("a:").unwrap(), ("a".into(), String::new()));
        for bad in ["", "tenant", ":acme", "Tenant:acme", "ten ant:acme"] {
            assert!(header(bad).is_err(), "{bad}");
        }
    }
}
