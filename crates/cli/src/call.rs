//! `towpath call`

use crate::{args::CallArgs, body, exit::Failure, token, usage};
use bytes::Bytes;
use std::{
    io::{Write, stdout},
    time::Duration,
};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep, timeout},
};
use towpath::{CallError, Client, CodecId, ErrorKind, Response};

/// How long a connect may take, where the deadline leaves as much.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a connection may take to end in good order after a one-way call.
const LEAVE: Duration = Duration::from_millis(500);

/// How long a peer that let the deadline pass has for a sign of life.
const SIGN_OF_LIFE: Duration = Duration::from_millis(100);

pub(crate) async fn run(args: CallArgs) -> Result<(), Failure> {
    usage::method(&args.method)?;
    usage::headers(&args.headers)?;
    let token = token::read(&args.token, &args.headers)?;
    let body = body::read(args.body, args.codec)?;
    let deadline = Instant::now() + args.timeout;
    let address = args.address.to_string();
    let mut builder = args.address.client(&args.tls, CONNECT.min(args.timeout))?;
    if let Some(compress) = args.compress {
        builder = builder.compression(compress.compression());
    }
    let client = builder.connect(&address).await?;

    let mut call = client.request(args.method).encoded(args.codec.id(), body);
    for (key, value) in args.headers {
        call = call.meta(key, value);
    }
    if let Some(token) = token {
        call = call.authorization(token.to_authorization());
    }
    let left = deadline.saturating_duration_since(Instant::now());
    let call = call.timeout(left);
    if args.one_way {
        call.send_one_way().await?;
        client.close();
        settle().await;
        return Ok(());
    }
    let outcome = if args.asynchronous {
        match call.send_async::<Bytes>().await {
            Ok(accepted) => accepted.into_response().await,
            Err(refused) => Err(refused),
        }
    } else {
        call.send_raw().await
    };
    match outcome {
        Ok(response) if response.is_fault() => Err(Failure::answered(&response)),
        Ok(response) => show(&response),
        Err(error) => Err(explain(error, &client).await),
    }
}

/// Lets the connection end in good order: a process that ends before resets it if there is anything to read,
/// and a reset can destroy what the peer has not read yet. Its tasks are the only ones here.
async fn settle() {
    let until = Instant::now() + LEAVE;
    let metrics = Handle::current().metrics();
    while metrics.num_alive_tasks() > 0 && Instant::now() < until {
        sleep(Duration::from_millis(1)).await;
    }
}

/// A deadline that passed without any answer: whether something slow is there, or something else than a service.
async fn explain(error: CallError, client: &Client) -> Failure {
    match error {
        CallError::Failed(error)
            if error.kind() == ErrorKind::DeadlineExceeded
                && error.remote_fault().is_none()
                && error.detail().is_empty()
                && client.endpoints().is_none() =>
        {
            match timeout(SIGN_OF_LIFE, client.ping()).await {
                Ok(Ok(_)) => error.into(),
                _ => error.because("a PING has no answer either: check that an MCP service is there").into(),
            }
        }
        other => other.into(),
    }
}

/// The result on stdout, as it came.
fn show(response: &Response) -> Result<(), Failure> {
    let mut out = stdout().lock();
    let written = out.write_all(response.body()).and_then(|()| {
        if response.codec() == CodecId::JSON {
            out.write_all(b"\n")?;
        }
        out.flush()
    });
    written.map_err(|error| Failure::Other(format!("the result cannot be written: {error}")))
}
