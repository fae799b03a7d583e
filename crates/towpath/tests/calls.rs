//! Calls over loopback: results, faults, deadlines, codecs, kinds of calls.

mod common;

use common::{Ask, User, router, serve};
use serde_json::json;
use towpath::Client;

async fn client() -> (Client, common::Serving) {
    let server = serve(router()).await;
    (Client::connect(server.url()).await.unwrap(), server)
}

#[tokio::test]
async fn a_typed_round_trip() {
    let (client, _server) = client().await;
    let user: User = client.call("UserService.GetUserInfo", &json!({"id": 1001})).await.unwrap();
    assert_eq!(user, User { id: 1001, name: "user 1001".to_owned() });
    let user: User = client.request("UserService.GetUserInfo").body(&Ask { id: 7 }).send().await.unwrap();
    assert_eq!(user.id, 7);
}
