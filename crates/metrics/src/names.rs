//! All metrics: their names, units, labels, and what they say.

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// What is at one moment.
    Gauge,
    /// How often, and how much together, by size.
    Histogram,
}

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Metric {
    /// What it is called. The unit is in the name: seconds, bytes, or a plain number.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// The names of its labels. One that has nothing to say is left out.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

impl Kind {
    /// In a word, as Prometheus has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

macro_rules! metrics {
    ($($id:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub(crate) const $id: Metric =
            Metric { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };)*

        /// All metrics of this crate.
        pub const ALL: &[Metric] = &[$($id),*];
    };
}

metrics! {
    CLIENT_CALL = Histogram "rpc_client_call_duration_seconds" ["target", "rpc_method", "outcome", "error_type"]
        "Time of a client's call, all attempts and waits included.";
    CLIENT_ATTEMPT = Histogram "towpath_client_attempt_duration_seconds" ["target", "rpc_method", "endpoint", "outcome", "error_type"]
        "Time of one attempt of a client's call.";
    SERVER_CALL = Histogram "rpc_server_call_duration_seconds" ["target", "rpc_method", "outcome", "error_type"]
        "Time that a server takes to answer a call.";
    CLIENT_IN_FLIGHT = Gauge "towpath_client_calls_in_flight" ["target"] "Calls of a client that are under way.";
    ATTEMPTS_IN_FLIGHT = Gauge "towpath_client_attempts_in_flight" ["target"] "Attempts of a client that are under way.";
    SERVER_IN_FLIGHT = Gauge "towpath_server_calls_in_flight" ["target"] "Calls that a server works on.";

    RETRIES = Counter "towpath_retry_attempts_total" ["target", "kind"] "Further attempts: retries that were planned, hedges that were sent.";
    FAILED_ATTEMPTS = Counter "towpath_retry_failed_attempts_total" ["target", "kind", "reason"] "Attempts that failed, by what they failed with.";
    HEDGES_WON = Counter "towpath_retry_hedges_won_total" ["target"] "Hedges that were answered first.";
    BUDGET_EXHAUSTED = Counter "towpath_retry_budget_exhausted_total" ["target", "kind"] "Attempts that the retry budget could not pay for.";
    GAVE_UP = Counter "towpath_retry_gave_up_total" ["target", "reason"] "Calls that failed, by why there was no further attempt.";
    BUDGET = Gauge "towpath_retry_budget_balance" ["target"] "Further attempts that the retry budget can pay for.";

    BREAKER_STATE = Gauge "towpath_breaker_state" ["target", "breaker"] "State of a breaker: 0 closed, 1 half-open, 2 open.";
    BREAKER_CHANGES = Counter "towpath_breaker_changes_total" ["target", "breaker", "to", "reason"] "Changes of a breaker's state.";
    BREAKER_REJECTED = Counter "towpath_breaker_rejected_total" ["target", "breaker"] "Calls that a breaker turned away.";

    LIMIT_REFUSED = Counter "towpath_limit_refused_total" ["target", "limit", "reason"] "Calls that a limit refused.";
    LIMIT_QUEUED = Counter "towpath_limit_queued_total" ["target", "limit"] "Calls that had to wait for a limit.";
    LIMIT_IN_FLIGHT = Gauge "towpath_limit_in_flight" ["target", "limit"] "Calls that a limit has let in and that are under way.";
    LIMIT_WAITING = Gauge "towpath_limit_waiting" ["target", "limit"] "Calls that wait for a limit.";
    LIMIT_CEILING = Gauge "towpath_limit_ceiling" ["target", "limit"] "How many calls a limit lets in at a time.";

    FALLBACKS = Counter "towpath_fallback_answers_total" ["target", "source", "end"] "Failed calls that were to be answered with something else.";
    TIMED_OUT = Counter "towpath_timeout_expired_total" ["target", "phase", "limit"] "Calls whose time was up, by how far they had come and whose limit that was.";
    TOO_LITTLE_LEFT = Counter "towpath_timeout_too_little_left_total" ["target", "refused"] "Calls that came with less time than they most likely take.";
    DEDUPED = Counter "towpath_dedupe_calls_total" ["target", "what"] "Calls with an idempotency key that were not simply made, by what became of them.";
    DEDUPE_KEYS = Gauge "towpath_dedupe_keys" ["target"] "Idempotency keys that are known.";
    DEDUPE_BYTES = Gauge "towpath_dedupe_size_bytes" ["target"] "Memory that the answers kept for repetitions take.";

    EJECTIONS = Counter "towpath_balance_ejections_total" ["target", "endpoint"] "Endpoints that were taken out as they failed too often.";
    EJECTIONS_REFUSED = Counter "towpath_balance_ejections_refused_total" ["target"] "Ejections that were refused, as too many endpoints were out, or failed alike.";
    RETURNS = Counter "towpath_balance_returns_total" ["target"] "Ejected endpoints that get calls again.";
    PANICS = Counter "towpath_balance_panics_total" ["target"] "Times that so few endpoints were well that all of them got calls.";
    NO_ENDPOINT = Counter "towpath_balance_no_endpoint_total" ["target"] "Calls that found no endpoint in their time.";
    ENDPOINTS = Gauge "towpath_balance_endpoints" ["target", "state"] "Endpoints, by what is known of them; state known is all of them.";
    PANICKING = Gauge "towpath_balance_panicking" ["target"] "1 while so few endpoints are well that all of them get calls.";
    PICKS = Counter "towpath_balance_picks_total" ["target", "endpoint"] "Attempts that were sent to an endpoint.";

    POOL_CONNECTS = Counter "towpath_pool_connects_total" ["target", "result"] "Connects, by whether they succeeded.";
    POOL_CONNECT = Histogram "towpath_pool_connect_duration_seconds" ["target"] "Time of a connect that succeeded.";
    POOL_CLOSED = Counter "towpath_pool_closed_total" ["target", "reason"] "Connections that ended, by why.";
    POOL_REFUSED = Counter "towpath_pool_refused_total" ["target", "reason"] "Calls that got no connection, by why.";
    POOL_REFUSED_WAIT = Histogram "towpath_pool_refused_wait_seconds" ["target"] "Time that calls waited which got no connection.";
    POOL_ACQUIRE = Histogram "towpath_pool_acquire_duration_seconds" ["target"] "Time that calls waited for the connection which they got; 0 for those that did not have to.";
    POOL_CONNECTIONS = Gauge "towpath_pool_connections" ["target", "state"] "Connections: open, idle of those, and those being made.";
    POOL_WAITING = Gauge "towpath_pool_waiting" ["target"] "Calls that wait for a connection.";
    POOL_IN_FLIGHT = Gauge "towpath_pool_in_flight" ["target"] "Calls that are under way on connections.";

    CONNECTIONS = Gauge "towpath_transport_connections" ["target", "side"] "Connections that are open.";
    CONNECTIONS_OPENED = Counter "towpath_transport_connections_opened_total" ["target", "side"] "Connections that were opened.";
    CONNECTIONS_CLOSED = Counter "towpath_transport_connections_closed_total" ["target", "side", "reason"] "Connections that ended, by why.";
    TRANSPORT_BYTES = Counter "towpath_transport_io_bytes_total" ["target", "side", "network_io_direction"] "Bytes of frames that went over connections, TLS not counted.";
    TRANSPORT_FRAMES = Counter "towpath_transport_frames_total" ["target", "side", "network_io_direction"] "Frames that went over connections.";
    DECODE_ERRORS = Counter "towpath_transport_decode_errors_total" ["target", "side", "reason"] "Frames and messages that arrived and could not be read, by why.";
    CUT_SHORT = Counter "towpath_transport_calls_cut_short_total" ["target", "side", "reason"] "Calls that their connection ended or refused: late, waiting, called (by when their deadline passed), overloaded, draining.";

    AUTH_REFUSED = Counter "towpath_auth_refused_total" ["target", "reason"] "Calls that a server turned away because of who made them, by why.";
    AUTH_VERIFIED = Counter "towpath_auth_verified_total" ["target"] "Credentials that were verified; callers that are known already are not counted.";
    AUTH_WAITS = Counter "towpath_auth_token_waits_total" ["target"] "Calls that had to wait for a token.";
    AUTH_NO_TOKEN = Counter "towpath_auth_token_failures_total" ["target"] "Calls that failed as there was no token for them.";
    AUTH_RENEWALS = Counter "towpath_auth_renewals_total" ["target", "result"] "Tokens that were fetched, by whether that succeeded.";

    DISCOVERY_ENDPOINTS = Gauge "towpath_discovery_endpoints" ["target"] "Endpoints that discovery knows.";
    DISCOVERY_AGE = Gauge "towpath_discovery_age_seconds" ["target"] "Time since the source of the endpoints answered last.";
    DISCOVERY_ERRORS = Counter "towpath_discovery_errors_total" ["target"] "Failures to ask the source of the endpoints.";
    DISCOVERY_CHANGES = Counter "towpath_discovery_changes_total" ["target", "change"] "Endpoints that are new, gone, or described anew.";

    DISCOVERY_REFUSED = Counter "towpath_discovery_refused_total" ["target"] "Instances that the source of the endpoints named and that were not taken: out of bounds, or too many.";
    DISCOVERY_DOUBTED = Counter "towpath_discovery_doubted_total" ["target"] "Times that the source said there are no endpoints any more, and was not believed at once.";
    DISCOVERY_FAILING = Gauge "towpath_discovery_failures_in_a_row" ["target"] "How often in a row the source of the endpoints could not be asked.";
    REGISTRY_INSTANCES = Gauge "towpath_registry_instances" ["target"] "Instances that are registered in a registry.";
    REGISTRY_EVENTS = Counter "towpath_registry_events_total" ["target", "what"] "What happened to instances in a registry: registered, described, replaced, deregistered, expired.";
    REGISTRATION_EVENTS = Counter "towpath_registration_events_total" ["target", "what"] "What became of a server's own registration: registered, lost, failed, deregistered.";

    HEALTH_PROBES = Counter "towpath_health_probes_total" ["target", "result"] "Health checks, by result.";
    HEALTH_PROBE = Histogram "towpath_health_probe_duration_seconds" ["target"] "Time of a health check.";
    HEALTH_CHANGES = Counter "towpath_health_changes_total" ["target", "endpoint", "to"] "Endpoints that became healthy or unhealthy by their checks.";
}
