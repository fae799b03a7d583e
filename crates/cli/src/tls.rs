//! Certificates and keys, from the command line to both sides.

use crate::{
    args::{ServerTlsArgs, TlsArgs},
    exit::Failure,
};
use std::time::Duration;
use towpath::{Address, Client, ClientAuth, ClientBuilder, ClientTls, InvalidTls, Scheme, ServerTls};

/// A client's builder, with what an address of mcps:// needs.
pub(crate) fn client(address: &Address, args: &TlsArgs, connect: Duration) -> Result<ClientBuilder, Failure> {
    let builder = Client::builder().connect_timeout(connect);
    if address.scheme() != Scheme::Tls {
        let given = [args.ca.is_some(), args.cert.is_some(), args.server_name.is_some()];
        if given.contains(&true) {
            let why =
                format!("{address} is reached without TLS: --ca, --cert and --server-name are for mcps://");
            return Err(Failure::Usage(why));
        }
        return Ok(builder);
    }
    match configured(args)? {
        Some(tls) => Ok(builder.tls(tls)),
        None => Err(untrusted(&address.to_string())),
    }
}

/// For endpoints that are found at a URL: their addresses may be of mcps://, and so may their registry's.
pub(crate) fn of_many(url: &str, args: &TlsArgs) -> Result<Option<ClientTls>, Failure> {
    match configured(args)? {
        None if url.starts_with("mcps:") || args.cert.is_some() || args.server_name.is_some() => {
            Err(untrusted(url))
        }
        tls => Ok(tls),
    }
}

fn untrusted(url: &str) -> Failure {
    Failure::Usage(format!("{url} needs --ca FILE: the certificate of the CA that is to be trusted, in PEM"))
}

fn configured(args: &TlsArgs) -> Result<Option<ClientTls>, Failure> {
    let Some(ca) = &args.ca else { return Ok(None) };
    let mut tls = ClientTls::builder().ca_file(ca);
    if let (Some(cert), Some(key)) = (&args.cert, &args.key) {
        tls = tls.identity_files(cert, key);
    }
    if let Some(name) = &args.server_name {
        tls = tls.server_name(name);
    }
    tls.build().map(Some).map_err(usage)
}

pub(crate) fn server(args: &ServerTlsArgs) -> Result<Option<ServerTls>, Failure> {
    let (Some(cert), Some(key)) = (&args.cert, &args.key) else { return Ok(None) };
    let mut tls = ServerTls::builder().identity_files(cert, key);
    if let Some(ca) = &args.client_ca {
        let auth = if args.client_cert_optional { ClientAuth::Optional } else { ClientAuth::Required };
        tls = tls.client_ca_file(ca).client_auth(auth);
    }
    tls.build().map(Some).map_err(usage)
}

fn usage(error: InvalidTls) -> Failure {
    Failure::Usage(error.to_string())
}
