//! Nothing shows a token: no `Debug`, no error, no event, no log.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are not #[test] themselves

use std::{
    fmt::{Debug, Write as _},
    io,
    sync::{Arc, Mutex},
    time::Duration,
};
use tower::{Layer, Service, ServiceExt, service_fn};
use towpath_auth::{
    AttachEvent, AttachLayer, Credential, Identity, Issued, RenewEvent, Renewing, StaticTokens, Token,
    TokenSource, TokensConfig, VerifyEvent, VerifyLayer,
};
use towpath_core::{BoxError, Error, Request};

const SECRET: &str = "hush-nobody-may-see-this";

/// What everybody who shows anything writes to.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<String>>);

impl Seen {
    fn debug(&self, value: &dyn Debug) {
        write!(self.0.lock().unwrap(), "{value:?}\n{value:#?}\n").unwrap();
    }

    fn error(&self, error: &BoxError) {
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(&**error);
        while let Some(error) = next {
            self.debug(&error);
            writeln!(self.0.lock().unwrap(), "{error}").unwrap();
            next = error.source();
        }
    }
}

impl io::Write for Seen {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().push_str(&String::from_utf8_lossy(text));
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_seen_nowhere() {
    let seen = Seen::default();
    let writer = seen.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::level_filters::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    tracing::info!("the log is seen");

    let token: Token = SECRET.parse().unwrap();
    seen.debug(&token);
    seen.debug(&format!("{SECRET} ").parse::<Token>());
    seen.debug(&Token::from_authorization(format!("Basic {SECRET}").as_bytes()));

    // The client's side.
    let observe = {
        let seen = seen.clone();
        move |event: &RenewEvent| seen.debug(event)
    };
    let renewing = Renewing::with(towpath_auth::RenewConfig::default(), observe, || async {
        Ok(Issued { token: SECRET.parse()?, lifetime: Some(Duration::from_secs(60)) })
    });
    let show = {
        let seen = seen.clone();
        move |event: &AttachEvent| seen.debug(event)
    };
    let attach = AttachLayer::new(renewing.clone()).observe(show);
    let inner = {
        let seen = seen.clone();
        service_fn(move |request: Request<()>| {
            seen.debug(&request);
            assert!(request.authorization().is_some());
            async { Ok::<_, BoxError>(()) }
        })
    };
    let mut client = attach.layer(inner);
    for _ in 0..2 {
        let call = client.call(Request::new("A.B", ()));
        seen.debug(&call);
        call.await.unwrap();
    }
    seen.debug(&renewing);
    seen.debug(&renewing.token(tokio::time::Instant::now()));
    seen.debug(&Issued { token: token.clone(), lifetime: None });
    seen.debug(&AttachLayer::new(token.clone()));
    seen.debug(&AttachLayer::new(token.clone()).layer(()));

    // The server's side.
    let text = format!(r#"{{"tokens": [{{"subject": "shop", "token": "{SECRET}"}}]}}"#);
    let list: TokensConfig = serde_json::from_str(&text).unwrap();
    seen.debug(&list);
    seen.debug(&serde_json::to_string(&list).unwrap());
    for wrong in [
        format!(r#"{{"tokens": [{{"subject": "shop", "token": "{SECRET} "}}]}}"#),
        format!(r#"{{"tokens": [{{"subject": "shop", "sha256": "{SECRET}"}}]}}"#),
        format!(
            r#"{{"tokens": [{{"subject": "shop", "token": "{SECRET}"}}, {{"subject": "x", "token": "{SECRET}"}}]}}"#
        ),
    ] {
        seen.error(&serde_json::from_str::<TokensConfig>(&wrong).unwrap_err().into());
    }
    let observe = {
        let seen = seen.clone();
        move |event: &VerifyEvent| seen.debug(event)
    };
    let verify = VerifyLayer::new(StaticTokens::new(list))
        .permit(|_: &Identity, m: &str| m != "A.Denied")
        .observe(observe);
    let handle = verify.handle();
    seen.debug(&verify);
    let mut server = verify.layer(service_fn(async |_: Request<()>| Ok::<_, BoxError>(())));
    let with = |method: &'static str, credential: String| {
        let mut request = Request::new(method, ());
        let field = towpath_core::context::Field::Authorization;
        request.context_mut().set_field(field, Some(credential.into()));
        request
    };
    for _ in 0..3 {
        let call = server.ready().await.unwrap().call(with("A.B", format!("Bearer {SECRET}")));
        seen.debug(&call);
        call.await.unwrap();
        seen.error(&server.call(with("A.Denied", format!("Bearer {SECRET}"))).await.unwrap_err());
        seen.error(&server.call(with("A.B", format!("Bearer x{SECRET}"))).await.unwrap_err());
        seen.error(&server.call(with("A.B", format!("Basic {SECRET}"))).await.unwrap_err());
        seen.error(&server.call(with("A.B", SECRET.to_owned())).await.unwrap_err());
    }
    seen.debug(&server);
    seen.debug(&handle);

    let seen = seen.0.lock().unwrap();
    assert!(seen.contains("the log is seen") && seen.contains("shop") && seen.contains("MCP-E-007"));
    assert!(Error::find(&*BoxError::from(Error::new(towpath_core::ErrorKind::Cancelled))).is_some());
    for part in [SECRET, "hush", "nobody-may"] {
        assert!(!seen.contains(part), "{part} in\n{seen}");
    }
    // Nor byte by byte.
    let bytes = SECRET.bytes().take(6).map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ");
    assert!(!seen.contains(&bytes));
}
