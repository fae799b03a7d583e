//! To a collector.

use super::{Export, ExportConfig, InvalidExport};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use opentelemetry_otlp::{
    SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig, tonic_types::metadata::MetadataMap,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// How to speak to a collector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum OtlpProtocol {
    /// gRPC; most often on port 4317.
    #[default]
    Grpc,
    /// HTTP with bodies in Protocol Buffers; most often on port 4318.
    Http,
}

/// Where a collector is, and how spans are sent to it.
///
/// ```no_run
/// use towpath_trace::otel::Otlp;
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let otlp: Otlp = serde_json::from_str(
///     r#"{"endpoint": "http://127.0.0.1:4317", "export": {"service": "orders"}}"#,
/// )?;
/// let export = otlp.start()?;
/// # drop(export);
/// # Ok(())
/// # }
/// ```
///
/// The connection is not encrypted: a collector that is not on this machine is best reached by way of an agent that is.
/// ([`Export::start`] takes any exporter.)
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Otlp {
    /// Where it is: `http://host:port`; for HTTP with the path, if it is another one than `/v1/traces`. `None`, the default:
    /// what `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` and `OTEL_EXPORTER_OTLP_ENDPOINT` say, or the usual port on this
    /// machine.
    pub endpoint: Option<String>,
    /// gRPC by default.
    pub protocol: OtlpProtocol,
    /// Headers of each request, such as a key that the collector asks for.
    pub headers: OtlpHeaders,
    /// How spans are put together.
    pub export: ExportConfig,
}

/// Headers by name. Their values are not shown.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OtlpHeaders(BTreeMap<String, String>);

impl OtlpHeaders {
    /// With one more.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.insert(name.into(), value.into());
        self
    }
}

impl Otlp {
    /// To a collector at this place, in the name of a service.
    pub fn new(endpoint: impl Into<String>, protocol: OtlpProtocol, export: ExportConfig) -> Self {
        Otlp { endpoint: Some(endpoint.into()), protocol, headers: OtlpHeaders::default(), export }
    }

    /// Begins to send spans, from a task on the current runtime. It need not be possible yet to connect.
    ///
    /// # Errors
    /// If the endpoint is none, or a header is none.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(&self) -> Result<Export, InvalidExport> {
        let invalid =
            |error: &dyn fmt::Display| InvalidExport { field: "endpoint", reason: error.to_string() };
        let headers = self.checked_headers()?;
        let endpoint = self.checked_endpoint()?;
        let timeout = self.export.timeout;
        let exporter = match self.protocol {
            OtlpProtocol::Grpc => {
                let mut builder = SpanExporter::builder().with_tonic().with_timeout(timeout);
                if let Some(endpoint) = endpoint {
                    builder = builder.with_endpoint(endpoint);
                }
                builder.with_metadata(MetadataMap::from_headers(headers)).build()
            }
            OtlpProtocol::Http => {
                let mut builder = SpanExporter::builder().with_http().with_timeout(timeout);
                if let Some(endpoint) = endpoint {
                    builder = builder.with_endpoint(endpoint);
                }
                builder.with_headers(self.headers.0.clone().into_iter().collect()).build()
            }
        };
        let exporter = exporter.map_err(|error| invalid(&error))?;
        Ok(Export::start(exporter, self.export.clone()))
    }

    fn checked_endpoint(&self) -> Result<Option<String>, InvalidExport> {
        let Some(endpoint) = &self.endpoint else { return Ok(None) };
        let refuse = |reason: String| Err(InvalidExport { field: "endpoint", reason });
        let uri: Uri = match endpoint.parse() {
            Ok(uri) => uri,
            Err(error) => return refuse(format!("{endpoint:?} is no address: {error}")),
        };
        match (uri.scheme_str(), uri.authority()) {
            (Some("http"), Some(_)) => {}
            (Some("https"), _) => {
                let advice = "use an agent on this machine, or give Export::start an exporter with TLS";
                return refuse(format!("{endpoint:?} wants TLS, which this one does not speak: {advice}"));
            }
            _ => return refuse(format!("{endpoint:?} is not http://host:port")),
        }
        let bare = matches!(uri.path(), "" | "/");
        Ok(Some(match self.protocol {
            OtlpProtocol::Http if bare => format!("{}/v1/traces", endpoint.trim_end_matches('/')),
            _ => endpoint.clone(),
        }))
    }

    fn checked_headers(&self) -> Result<HeaderMap, InvalidExport> {
        let refuse =
            |name: &str, what: &str| InvalidExport { field: "headers", reason: format!("{name:?} {what}") };
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers.0 {
            let key: HeaderName = name.parse().map_err(|_| refuse(name, "is no name of a header"))?;
            let value: HeaderValue = value.parse().map_err(|_| refuse(name, "has a value that is none"))?;
            headers.insert(key, value);
        }
        Ok(headers)
    }
}

impl fmt::Debug for OtlpHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_looked_at_before_anything_is_sent() {
        let at = |endpoint: &str, protocol| {
            Otlp::new(endpoint, protocol, ExportConfig::default()).checked_endpoint()
        };
        let http = |endpoint: &str| at(endpoint, OtlpProtocol::Http).unwrap().unwrap();
        assert_eq!(http("http://127.0.0.1:4318"), "http://127.0.0.1:4318/v1/traces");
        assert_eq!(http("http://127.0.0.1:4318/"), "http://127.0.0.1:4318/v1/traces");
        assert_eq!(http("http://127.0.0.1:4318/own"), "http://127.0.0.1:4318/own");
        for (endpoint, says) in [
            ("https://collector:4317", "wants TLS"),
            ("collector:4317", "is not http://host:port"),
            ("http://", "is no address"),
        ] {
            let refused = at(endpoint, OtlpProtocol::Grpc).unwrap_err().to_string();
            assert!(refused.starts_with("endpoint: ") && refused.contains(says), "{refused}");
        }
    }

    #[test]
    fn keys_are_not_shown() {
        let mut otlp = Otlp { headers: OtlpHeaders::default().with("x-key", "hush"), ..Otlp::default() };
        let text = format!("{otlp:?}");
        assert!(text.contains("x-key") && !text.contains("hush"), "{text}");
        assert!(otlp.checked_headers().is_ok());
        otlp.headers = OtlpHeaders::default().with("x key", "hush");
        assert_eq!(
            otlp.checked_headers().unwrap_err().to_string(),
            "headers: \"x key\" is no name of a header"
        );
        otlp.headers = OtlpHeaders::default().with("x-key", "hu\nsh");
        assert!(!otlp.checked_headers().unwrap_err().to_string().contains("hu"));
    }

    #[test]
    fn the_form_in_a_file() {
        let text = r#"{"protocol": "http", "headers": {"x-key": "1"}, "export": {"service": "orders"}}"#;
        let otlp: Otlp = serde_json::from_str(text).unwrap();
        assert_eq!((otlp.protocol, otlp.export.service.as_deref()), (OtlpProtocol::Http, Some("orders")));
        assert!(serde_json::from_str::<Otlp>(r#"{"port": 1}"#).is_err());
    }
}
