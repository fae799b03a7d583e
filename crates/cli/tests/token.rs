//! A credential from a file or the environment, against a service that asks who calls.

use std::{
    error::Error,
    fs,
    process::{Command, Output},
};
use towpath::{
    Extension, Identity, Router, Server,
    auth::{StaticTokens, TokensConfig, VerifyLayer},
};

const TOKEN: &str = "hush-a-token-for-the-shop";

type Tested = Result<(), Box<dyn Error>>;

async fn serve() -> Result<String, Box<dyn Error>> {
    let list = TokensConfig::new().with(&TOKEN.parse()?, Identity::new("shop"))?;
    let verify = VerifyLayer::new(StaticTokens::new(list));
    let server = Server::builder().layer(verify).bind("127.0.0.1:0").await?;
    let url = format!("mcp://{}", server.local_addr());
    let who = async |Extension(caller): Extension<Identity>| caller.subject().to_owned();
    tokio::spawn(server.serve(Router::new().route("Who.AmI", who)).into_future());
    Ok(url)
}

async fn towpath(args: &[&str], variable: &str) -> Result<(Option<i32>, String, String), Box<dyn Error>> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_towpath"));
    command.args(args).env("SHOP_TOKEN", variable);
    let Output { status, stdout, stderr } = tokio::task::spawn_blocking(move || command.output()).await??;
    let (out, err) = (String::from_utf8(stdout)?, String::from_utf8(stderr)?);
    assert!(!out.contains("hush") && !err.contains("hush"), "{out}{err}");
    Ok((status.code(), out, err))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_comes_from_a_file_or_from_the_environment() -> Tested {
    let url = serve().await?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("token");
    fs::write(&path, format!("{TOKEN}\n"))?;
    let path = path.to_str().ok_or("a path in other letters")?;
    for token in [["--token-file", path], ["--token-env", "SHOP_TOKEN"]] {
        let args = ["call", &url, "Who.AmI", "--codec", "raw", token[0], token[1]];
        let (code, out, err) = towpath(&args, TOKEN).await?;
        assert_eq!((code, out.as_str()), (Some(0), "shop"), "{err}");
        let args = ["bench", &url, "Who.AmI", "--duration", "200ms", "--json", token[0], token[1]];
        assert_eq!(towpath(&args, TOKEN).await?.0, Some(0));
        let args = ["methods", &url, token[0], token[1]];
        assert!(towpath(&args, TOKEN).await?.1.contains("Who.AmI"));
    }
    let (code, _, err) = towpath(&["call", &url, "Who.AmI"], TOKEN).await?;
    assert_eq!(code, Some(1));
    assert!(err.contains("MCP-E-007"), "{err}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_token_is_exit_2_and_is_not_shown() -> Tested {
    let call = ["call", "mcp://127.0.0.1:1", "Who.AmI"];
    for (more, says) in [
        (&["--token-env", "NO_SUCH_VARIABLE"][..], "NO_SUCH_VARIABLE"),
        (&["--token-file", "/no/such/file"], "/no/such/file"),
        (&["--token-env", "SHOP_TOKEN"], "SHOP_TOKEN holds no bearer token"),
        (&["--token-env", "SHOP_TOKEN", "--token-file", "x"], "cannot be used with"),
        (&["--token-env", "SHOP_TOKEN", "-H", "authorization:x"], "two credentials"),
    ] {
        let (code, _, err) = towpath(&[&call[..], more].concat(), "hush hush").await?;
        assert_eq!(code, Some(2), "{err}");
        assert!(err.contains(says), "{err}");
    }
    Ok(())
}
