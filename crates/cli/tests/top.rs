//! `towpath top` against a real admin interface.

#![allow(clippy::unwrap_used)]
// The program is another process.

use std::process::{Command, Output, Stdio};
use towpath::{
    Client, ErrorKind, Fault, Router, Server,
    admin::{Admin, Recorder},
};

async fn top(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_towpath"));
    command.arg("top").args(args).env("TOP_TOKEN", "s3cret").stdin(Stdio::null());
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_printed() {
    // It refuses: where nobody listens, the call would wait for a connection until its deadline.
    let server = Server::builder().admin(Recorder::default()).bind("127.0.0.1:0").await.unwrap();
    let address = server.address().to_string();
    let admin = Admin::new().target("post", &server).token("s3cret");
    let refuse = async || Err::<String, Fault>(Fault::new(ErrorKind::Overloaded, "full"));
    tokio::spawn(server.serve(Router::new().route("A.B", refuse)).into_future());
    let client = Client::builder().admin(Recorder::default()).connect_lazy(address).unwrap();
    client.request("A.B").raw("").send::<String>().await.unwrap_err();
    let admin = admin.target("letters", &client);
    let serving = admin.serve("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let url = format!("http://{}", serving.local_addr());
    tokio::spawn(serving.until(std::future::pending()));

    let printed = top(&[&url, "--once", "--token-env", "TOP_TOKEN"]).await;
    let text = String::from_utf8_lossy(&printed.stdout).into_owned();
    assert_eq!(printed.status.code(), Some(0), "{}", String::from_utf8_lossy(&printed.stderr));
    assert!(text.starts_with("NAME"), "{text}");
    assert!(text.contains("\npost     serving"), "{text}");
    assert!(text.contains("\nletters  connected"), "{text}");
    for name in ["post", "letters"] {
        let (_, faults) = text.split_once(&format!("\n{name}: recent faults\n")).unwrap_or_default();
        assert!(faults.contains("MCP-W-103"), "{name}: {text}");
    }
    let (_, methods) = text.split_once("\nletters: methods\n").unwrap_or_default();
    assert!(methods.lines().nth(1).unwrap_or_default().starts_with("A.B "), "{text}");
    // Where stdout is no terminal, it is the same.
    assert_eq!(top(&[&url, "--token-env", "TOP_TOKEN"]).await.status.code(), Some(0));

    let refused = top(&[&url, "--once"]).await;
    assert_eq!(refused.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("it wants a token"));
    let elsewhere = top(&[&format!("{url}/elsewhere"), "--once", "--token-env", "TOP_TOKEN"]).await;
    assert_eq!(elsewhere.status.code(), Some(3));
    assert_eq!(top(&["ftp://127.0.0.1", "--once"]).await.status.code(), Some(2));
}
