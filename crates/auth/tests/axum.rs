//! Around an axum router, which cannot fail; and around a client of HTTP.

#![allow(clippy::unwrap_used)] // helpers of tests are not #[test] themselves

use axum::{
    Extension, Router,
    body::Body,
    http::{Request, StatusCode, header::AUTHORIZATION},
    response::{IntoResponse, Response},
    routing::get,
};
use std::convert::Infallible;
use tower::{Layer, ServiceExt, service_fn};
use towpath_auth::{
    AttachLayer, Credential, Identity, StaticTokens, Token, TokensConfig, VerifyConfig, VerifyLayer,
};
use towpath_core::{AnswerHttp, BoxError};
use towpath_testing::Contract;

fn token() -> Token {
    "a-token-that-is-long-enough".parse().unwrap()
}

fn layer() -> VerifyLayer<StaticTokens, (), AnswerHttp> {
    let shop = Identity::new("shop").with_scopes(["orders"]);
    let tokens = StaticTokens::new(TokensConfig::new().with(&token(), shop).unwrap());
    let config = VerifyConfig::default()
        .with_exempt(["/health"].into_iter().collect())
        .with_required(["/users/*"].into_iter().collect(), "users");
    VerifyLayer::with_config(tokens, config).on_reject(AnswerHttp)
}

fn to(path: &str) -> Request<Body> {
    Request::builder().uri(path).body(Body::empty()).unwrap()
}

fn with_token(path: &str) -> Request<Body> {
    let mut request = to(path);
    request.set_authorization(&token());
    request
}

async fn text(response: Response) -> String {
    let body = axum::body::to_bytes(response.into_body(), 1024).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn a_handler_knows_who_calls() {
    let who = async |Extension(caller): Extension<Identity>| caller.subject().to_owned();
    let app = Router::new()
        .route("/who", get(who))
        .route("/users/7", get(async || "never"))
        .route("/health", get(async || "fine"))
        .layer(layer());
    // The second time the credential is known.
    for _ in 0..2 {
        let Ok(answer) = app.clone().oneshot(with_token("/who")).await;
        assert_eq!((answer.status(), &*text(answer).await), (StatusCode::OK, "shop"));
    }
    let Ok(answer) = app.clone().oneshot(with_token("/users/7")).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    let Ok(answer) = app.clone().oneshot(to("/who")).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let Ok(answer) = app.clone().oneshot(to("/health")).await;
    assert_eq!(answer.status(), StatusCode::OK);

    let mut basic = to("/who");
    basic.headers_mut().insert(AUTHORIZATION, "Basic aHVzaA==".parse().unwrap());
    let Ok(answer) = app.oneshot(basic).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_client_of_http_sends_the_header() {
    let server = service_fn(|request: Request<Body>| async move {
        let value = request.headers()[AUTHORIZATION].clone();
        assert!(value.is_sensitive() && !format!("{request:?}").contains("long-enough"));
        Ok::<_, BoxError>(value)
    });
    let client = AttachLayer::new(token()).layer(server);
    let value = client.clone().oneshot(to("/")).await.unwrap();
    assert_eq!(value.as_bytes(), token().as_authorization());
}

#[test]
fn the_contract_over_http() {
    Contract::<_, Request<Body>, Response, Infallible>::with_types(
        layer,
        || with_token("/any"),
        || StatusCode::OK.into_response(),
    )
    .verify();
    Contract::<_, Request<Body>, Response, Infallible>::with_types(
        || AttachLayer::new(token()).on_reject(AnswerHttp),
        || to("/any"),
        || StatusCode::OK.into_response(),
    )
    .verify();
}
