//! What went wrong, for people: what it is, and what to do.

use rustls::{
    AlertDescription as Alert, CertificateError, Error, InvalidMessage, PeerIncompatible,
    pki_types::{ServerName, UnixTime},
};
use std::io;
use towpath_core::ErrorKind;

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

impl Side {
    fn peer(self) -> &'static str {
        match self {
            Side::Client => "the server",
            Side::Server => "the client",
        }
    }
}

/// Of a client: MCP-E-007 when the server wants to know who it is, MCP-E-011 else.
pub(super) fn kind(error: &io::Error) -> ErrorKind {
    match tls(error) {
        Some(Error::AlertReceived(alert)) if is_of_certificate(*alert) => ErrorKind::Unauthenticated,
        _ => ErrorKind::ConnectFailed,
    }
}

/// Whether somebody's certificate is the trouble: whoever runs the server should hear of it.
pub(super) fn is_trouble(error: &io::Error) -> bool {
    match tls(error) {
        Some(Error::InvalidCertificate(_) | Error::NoCertificatesPresented) => true,
        Some(Error::AlertReceived(alert)) => is_of_certificate(*alert),
        _ => false,
    }
}

fn tls(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn is_of_certificate(alert: Alert) -> bool {
    matches!(
        alert,
        Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecryptError
    )
}

pub(super) fn say(error: &io::Error, side: Side) -> String {
    let peer = side.peer();
    match tls(error) {
        Some(Error::InvalidCertificate(error)) => certificate(error, side),
        Some(Error::NoCertificatesPresented) => {
            format!("{peer} shows no certificate: give it one, and its key")
        }
        Some(Error::AlertReceived(alert)) => alerted(*alert, side),
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => match side {
            Side::Client => {
                "the server answers without TLS: connect to mcp:// instead, or have the server serve TLS"
                    .into()
            }
            Side::Server => "the client speaks no TLS: it has to connect to mcps://".into(),
        },
        Some(Error::NoApplicationProtocol) => {
            format!("{peer} speaks TLS, but not MCP: it does not offer mcp/1 by ALPN")
        }
        Some(Error::PeerIncompatible(
            PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls13RequiredForQuic
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        )) => format!("{peer} does not speak TLS 1.3"),
        Some(error) => format!("TLS with {peer} failed: {error}"),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            format!(
                "{peer} ended the connection without a word of TLS (close_notify): it died, or was cut off"
            )
        }
        None => error.to_string(),
    }
}

fn alerted(alert: Alert, side: Side) -> String {
    let (peer, mine) = match side {
        Side::Client => ("the server", "this client's certificate"),
        Side::Server => ("the client", "this server's certificate"),
    };
    match alert {
        Alert::CertificateRequired => {
            format!("{peer} wants to see a certificate, and there is none here: give one, and its key")
        }
        Alert::UnknownCA => {
            format!("{peer} refuses {mine}: it does not trust the CA that signed it")
        }
        Alert::CertificateExpired => format!("{peer} refuses {mine}: it has expired, or is not valid yet"),
        Alert::NoApplicationProtocol => {
            format!("{peer} speaks TLS, but not MCP: it does not take mcp/1 by ALPN")
        }
        Alert::ProtocolVersion => format!("{peer} does not speak TLS 1.3"),
        alert if is_of_certificate(alert) => format!("{peer} refuses {mine} ({alert:?})"),
        alert => format!("{peer} ended the TLS handshake ({alert:?})"),
    }
}

fn certificate(error: &CertificateError, side: Side) -> String {
    let peer = side.peer();
    match error {
        CertificateError::ExpiredContext { time, not_after } => {
            let ago = span(*not_after, *time);
            format!("the certificate of {peer} expired {ago} ago: renew it (and check this machine's clock)")
        }
        CertificateError::Expired => format!("the certificate of {peer} has expired: renew it"),
        CertificateError::NotValidYetContext { time, not_before } => {
            let until = span(*time, *not_before);
            format!(
                "the certificate of {peer} is not valid yet, but in {until}: check the clocks of both machines"
            )
        }
        CertificateError::NotValidYet => {
            format!("the certificate of {peer} is not valid yet: check the clocks of both machines")
        }
        CertificateError::UnknownIssuer => {
            let role = if side == Side::Client { "CA" } else { "client CA" };
            format!(
                "the certificate of {peer} is signed by no {role} that is trusted here: check the CA file"
            )
        }
        CertificateError::BadSignature => {
            format!(
                "the certificate of {peer} names a CA that is trusted here, but that one has not signed it"
            )
        }
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "the certificate of {peer} is for {}, not for {}: connect to a name that it is for, or set the server name",
            names(presented),
            name(expected)
        ),
        CertificateError::NotValidForName => {
            format!("the certificate of {peer} is for another name: connect to a name that it is for")
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            let role = if side == Side::Client { "servers" } else { "clients" };
            format!("the certificate of {peer} is not one for {role} (extended key usage)")
        }
        CertificateError::Revoked => format!("the certificate of {peer} is revoked"),
        other => format!("the certificate of {peer} is no good: {other}"),
    }
}

fn name(name: &ServerName<'_>) -> String {
    name.to_str().into_owned()
}

/// The library gives them as `DnsName("orders")`.
fn names(presented: &[String]) -> String {
    let plain = |name: &String| match name.split_once('(') {
        Some((_, inner)) => inner.trim_end_matches(')').trim_matches('"').to_owned(),
        None => name.clone(),
    };
    match presented {
        [] => "no name at all".to_owned(),
        names => names.iter().take(6).map(plain).collect::<Vec<_>>().join(", "),
    }
}

/// The time between two, in the largest unit that fits.
fn span(from: UnixTime, to: UnixTime) -> String {
    let secs = to.as_secs().saturating_sub(from.as_secs());
    let (n, unit) = match secs {
        0..120 => (secs, "second"),
        120..7_200 => (secs / 60, "minute"),
        7_200..172_800 => (secs / 3_600, "hour"),
        _ => (secs / 86_400, "day"),
    };
    if n == 1 { format!("1 {unit}") } else { format!("{n} {unit}s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn spans() {
        let at = |secs| UnixTime::since_unix_epoch(Duration::from_secs(secs));
        for (secs, says) in
            [(0, "0 seconds"), (1, "1 second"), (180, "3 minutes"), (7_300, "2 hours"), (200_000, "2 days")]
        {
            assert_eq!(span(at(1_000), at(1_000 + secs)), says);
        }
        assert_eq!(span(at(5), at(1)), "0 seconds");
    }

    #[test]
    fn names_are_plain() {
        let presented = ["DnsName(\"orders\")".to_owned(), "IpAddress(10.0.0.1)".to_owned()];
        assert_eq!(names(&presented), "orders, 10.0.0.1");
        assert_eq!(names(&[]), "no name at all");
    }
}
